"""Code that comes in a bundle: it runs where a known version of snn2hw wrote it, or where the user trusts the bundle.

The digests in a manifest show damage, not a stranger: whoever changes a bundle can write them anew. So a back end that
runs files of a bundle asks here first, with what it writes itself; its run options have the field TRUST.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from snn2hw.errors import BundleError
from snn2hw.exporters import option

TRUST = option(
    False, "Run the code of a bundle though no known version of snn2hw wrote it: it may do whatever you may."
)
"""The field `trust_bundle: bool` of a back end's run options."""
NAMED = 5  # files in a message

Code = Mapping[str, str]
"""The sha256 of every file of a folder, by its path in there."""


def code_in(folder: Path) -> dict[str, str]:
    """The sha256 of every file in a folder, hidden ones and those in folders behind links too."""
    return {
        Path(place, name).relative_to(folder).as_posix(): _digest(Path(place, name))
        for place, _, names in os.walk(folder, followlinks=True)
        for name in sorted(names)
    }


def digest_of(code: Code) -> str:
    """One sha256 of all files of a folder and their names: what is shipped of former versions."""
    return hashlib.sha256("".join(f"{name}\n{code[name]}\n" for name in sorted(code)).encode()).hexdigest()


def check_code(folder: Path, own: Code, former: Collection[str] = (), *, trusted: bool) -> None:
    """Raise BundleError that names the files in `folder` which no known version wrote, unless the bundle is trusted.

    own: what this version writes there. former: `digest_of` what other versions wrote.
    """
    if trusted:
        return
    given = code_in(folder)
    if given == own or digest_of(given) in former:
        return
    others = sorted(name for name in given.keys() | own.keys() if given.get(name) != own.get(name))
    listed = ", ".join(map(repr, others[:NAMED])) + (f" and {len(others) - NAMED} more" if len(others) > NAMED else "")
    raise BundleError(
        f"{folder}: no known version of snn2hw wrote this code: {listed}. It would run as you, with all that you may "
        "do. Export the bundle again from its model, or run it if you trust whoever made it: --trust-bundle."
    )


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
