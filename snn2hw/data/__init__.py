"""Data: samples, the named sets, and the folders and files they are read from."""
