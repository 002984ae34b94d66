"""snn2hw takes a trained spiking residual network to neuromorphic hardware and proves that nothing changed on the way."""

__version__ = "0.1.0"
