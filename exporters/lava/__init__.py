"""Lava: the bundle that runs a program in Lava, and the environment that Lava runs in."""

from snn2hw.exporters.lava.bundle import Bundle, check_output, export, read_bundle

__all__ = ["Bundle", "check_output", "export", "read_bundle"]
