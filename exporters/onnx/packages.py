"""The packages that write and run ONNX files: an extra, which may be missing or too old."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

from snn2hw.errors import BackendError
from snn2hw.exporters import Part

OLDEST = {"onnx": (1, 17), "onnxruntime": (1, 24)}
"""The first version of each that has all that is asked of it: of onnxruntime, products of signed and unsigned bytes."""
ADVICE = "pip install 'snn2hw[onnx]'"


def parts() -> list[Part]:
    """Both packages, for `doctor`."""
    return [
        Part(name=name, present=_found(name) or "not installed", advice="" if _is_enough(name) else ADVICE)
        for name in OLDEST
    ]


def problem_with(*names: str) -> str:
    """What is wrong with the packages of these names; "" if nothing is."""
    problems = []
    for name in names:
        if not _is_enough(name):
            found = _found(name)
            problems.append(
                f"{name} {found} is too old, {_text(name)} is needed" if found else f"{name} is not installed"
            )
    return " and ".join(problems)


def require(*names: str) -> None:
    """Raise BackendError if one of the packages is missing or too old."""
    if problem := problem_with(*names):
        raise BackendError(f"{problem}. Install what is needed: {ADVICE}.")


def _found(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _is_enough(name: str) -> bool:
    """Whether a package is there and new enough."""
    return tuple(int(number) for number in re.findall(r"\d+", _found(name))[:2]) >= OLDEST[name]


def _text(name: str) -> str:
    return f"{name} {'.'.join(map(str, OLDEST[name]))} or later"
