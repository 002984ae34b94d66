"""--weight-bits: one number for all layers, or a file with the bits of each."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from snn2hw.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class AskedBits:
    """The bits of weights: of all layers, and of single ones by name."""

    weight_bits: int
    layer_bits: dict[str, int] = field(default_factory=dict)


def parse_weight_bits(text: str) -> AskedBits:
    """What --weight-bits says: a number, or a JSON file {"weight_bits": N, "layers": {NAME: N, ...}}, which
    `sweep --per-layer --json` writes too. Raises OptionError that names the file and what is wrong in it.
    """
    if text.isascii() and text.isdigit():
        return AskedBits(weight_bits=int(text))
    path = Path(text)
    if not path.is_file():
        raise OptionError(f"--weight-bits {text}: neither a number of bits nor a file.")
    try:
        document = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise OptionError(f"--weight-bits {path}: no JSON ({error}).") from None
    form = 'Write {"weight_bits": 8, "layers": {"conv1": 4}}, with the names that inspect shows.'
    if not isinstance(document, dict) or not isinstance(document.get("layers"), dict):
        raise OptionError(f'--weight-bits {path}: it has no "layers". {form}')
    others = document.get("weight_bits", 8)
    for name, count in [("weight_bits", others), *document["layers"].items()]:
        if type(count) is not int:
            raise OptionError(f"--weight-bits {path}: {name} is {count!r}, no number of bits. {form}")
    return AskedBits(weight_bits=others, layer_bits=document["layers"])
