"""The version of Lava that bundles run in; snn2hw makes an environment with it."""

LAVA_VERSION = "0.10.0"
