"""From a torch.nn.Module to NIR: the trace, the rules of layers and operations, the user's own module."""
