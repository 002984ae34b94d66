"""Data sets, and training of the models by backpropagation through time."""
