"""The frame of every page for people, its figures and its looks: one file, no network, and nothing goes out."""
