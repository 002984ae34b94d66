"""What the SEW ResNet paper says of residual blocks, computed from the modules themselves."""
