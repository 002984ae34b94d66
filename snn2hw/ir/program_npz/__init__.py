"""The one reader of program.npz: strict, and the same for snn2hw and for the bundles that run without it.

It needs Python 3.10 and numpy alone, and imports nothing of snn2hw: the exporter for Lava copies this folder into
bundles as it stands. docs/program.md gives the format.
"""
