"""Files of weights: this project's, SpikingJelly's, the SEW ResNet authors'."""
