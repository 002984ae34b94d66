"""From a trained model to NIR: checkpoints, traced modules, the neurons of each framework, NIR files."""
