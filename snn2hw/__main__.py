"""python -m snn2hw: the command line, as torchrun starts it."""

from snn2hw.cli import run

run()
