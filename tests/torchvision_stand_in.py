"""A stand-in for torchvision, so that SpikingJelly's model files can be imported.

They take one function from it, which downloads the weights of ANNs. PyPI's torchvision is built for the CUDA build of
torch and fails to import beside the CPU build; installing it would change nothing that the tests look at. Where
torchvision can be imported, it is left alone.

    import torchvision_stand_in  # noqa: F401  before spikingjelly.activation_based.model
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


def _no_download(*arguments: Any, **options: Any) -> None:
    raise RuntimeError("the tests have a stand-in for torchvision, which downloads nothing")


def _install() -> None:
    internals = ModuleType("torchvision._internally_replaced_utils")
    internals.load_state_dict_from_url = _no_download  # type: ignore[attr-defined]
    modules = [ModuleType("torchvision"), ModuleType("torchvision.models"), internals]
    sys.modules.update({module.__name__: module for module in modules})


try:
    import torchvision  # noqa: F401
except (ImportError, RuntimeError):  # RuntimeError: its compiled operators belong to another build of torch
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    _install()
