"""The version of Lava that bundles run in, and how it is installed. snn2hw makes an environment with it."""

from __future__ import annotations

import sys

LAVA_VERSION = "0.10.0"
OLDEST_PYTHON = (3, 10)


def how_to_install() -> str:
    """The commands that put Lava into this Python, although lava-nc asks for Python 3.10 and numpy below 2."""
    pip = f"{sys.executable} -m pip install"
    return f"{pip} --ignore-requires-python --no-deps lava-nc=={LAVA_VERSION} && {pip} asteval networkx numpy scipy"
