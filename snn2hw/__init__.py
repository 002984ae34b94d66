"""Trained spiking residual networks to neuromorphic hardware, with proof that nothing changed on the way."""

__version__ = "0.1.0"
