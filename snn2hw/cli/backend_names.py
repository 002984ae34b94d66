"""The names of the installed back ends, as help texts and messages list them."""

from __future__ import annotations

from collections.abc import Iterable

from snn2hw.exporters import installed_backends, runnable_backends


def targets() -> str:
    """What --target takes."""
    kinds = {True: "a bundle", False: "a file"}
    return _either(f"{name} ({kinds[backend.bundled]})" for name, backend in installed_backends().items())


def bundled_targets() -> str:
    """The targets that a bundle is written for."""
    return _either(name for name, backend in installed_backends().items() if backend.bundled)


def targets_of(suffix: str) -> str:
    """The targets whose file ends so."""
    return _either(name for name, backend in installed_backends().items() if backend.suffix == suffix)


def engines(*others: str) -> str:
    """What runs a program: `others`, and the runnable back ends."""
    return _either([*others, *runnable_backends()])


def _either(names: Iterable[str]) -> str:
    *others, last = [*names] or [""]
    return f"{', '.join(others)} or {last}" if others else last
