"""Lava: the bundle that runs a program in Lava, and the environment that Lava runs in."""

from snn2hw.exporters.lava.bundle import Bundle, export, read_bundle

__all__ = ["Bundle", "export", "read_bundle"]
