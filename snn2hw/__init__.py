"""Trained spiking residual networks to neuromorphic hardware, equal spike for spike: the Python interface.

    deployment = snn2hw.compile(net, samples, timesteps=4)
    print(deployment.verify(samples))
    deployment.export("net.lava")

Everything is imported when it is used first: torch is slow to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from snn2hw.files import VERSION

if TYPE_CHECKING:
    from snn2hw.api.deployment import Deployment
    from snn2hw.api.interface import check, compile, load
    from snn2hw.api.results import Check, ReportPage, Run
    from snn2hw.verification.verdict import Verification

__version__ = VERSION

__all__ = [
    "Check",
    "Deployment",
    "ReportPage",
    "Run",
    "Verification",
    "__version__",
    "check",
    "compile",
    "load",
]

_PLACES = {
    "Check": "snn2hw.api.results",
    "Deployment": "snn2hw.api.deployment",
    "ReportPage": "snn2hw.api.results",
    "Run": "snn2hw.api.results",
    "Verification": "snn2hw.verification.verdict",
    "check": "snn2hw.api.interface",
    "compile": "snn2hw.api.interface",
    "load": "snn2hw.api.interface",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'snn2hw' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
