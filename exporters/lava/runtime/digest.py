"""Whether program.npz is the file that the bundle's manifest describes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from program import ProgramError


def check_digest(path: Path) -> None:
    """Compare the program with the SHA-256 that manifest.json beside it states; no manifest, no check.

    Raises ProgramError if they differ or the manifest is no JSON object.
    """
    manifest_path = path.parent / "manifest.json"
    if not manifest_path.is_file():
        return
    try:
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProgramError(f"{manifest_path} cannot be read: {error}. Export the bundle again.") from error
    digests = manifest.get("sha256") if isinstance(manifest, dict) else None
    if not isinstance(digests, dict) or path.name not in digests:
        raise ProgramError(f"{manifest_path} states no sha256 of {path.name}. Export the bundle again.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != digests[path.name]:
        raise ProgramError(
            f"{path} was changed after the bundle was written: its sha256 is {digest}, manifest.json says "
            f"{digests[path.name]}. Export the bundle again."
        )
