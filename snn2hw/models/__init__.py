"""The SEW family of residual spiking networks, and the checkpoints that hold trained ones."""
