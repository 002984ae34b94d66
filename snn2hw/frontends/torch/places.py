"""Where in a user's files something stands, for messages: FILE:LINE."""

from __future__ import annotations

import os
import sys
import sysconfig

_OURS = ("torch", "snn2hw")
_FRAMEWORKS = ("spikingjelly", "snntorch", "norse", "sinabs")
_INSTALLED = ("site-packages", "dist-packages")


def is_users(file: str) -> bool:
    """Whether code in a file is neither torch's, nor a framework's, nor Python's, nor of this package."""
    return is_code_of_a_model(file) and not _is_in(file, _FRAMEWORKS)


def is_code_of_a_model(file: str) -> bool:
    """Whether a forward may stand in a file: the user's, or a framework's."""
    if file.startswith("<") and not file.startswith("<ipython"):
        return False
    library = file.startswith(sysconfig.get_paths()["stdlib"] + os.sep) and not any(part in file for part in _INSTALLED)
    return not library and not _is_in(file, _OURS)


def place_of(file: str, line: int | str | None) -> str:
    """FILE:LINE, the file as seen from here where it lies below."""
    near = os.path.relpath(file) if os.path.isabs(file) else file
    return f"{file if near.startswith('..') else near}:{line}"


def _is_in(file: str, packages: tuple[str, ...]) -> bool:
    known = (getattr(sys.modules.get(package), "__file__", None) for package in packages)
    return any(file.startswith(os.path.dirname(path) + os.sep) for path in known if path)
