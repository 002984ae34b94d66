"""Training of the models by backpropagation through time."""
