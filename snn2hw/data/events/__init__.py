"""Event data: files of event cameras, frames made from them, the folders of known sets, and a synthetic set."""
