"""Names of layers as C takes them: identifiers, strings and comments. A layer may be called anything."""

from __future__ import annotations

import re

LONGEST = 40
"""Characters of a layer's part of a name. C99 tells 31 apart for sure; the number stands before them."""


def identifier(number: int, name: str) -> str:
    """A C identifier for a layer: its number makes it unique, its name tells people what it is."""
    plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
    return f"{number}_{plain}"[:LONGEST].rstrip("_")


def string(text: str) -> str:
    """A C string literal: every byte that could end it, or stand for another (trigraphs), is written as octal."""
    plain = {
        ord(character) for character in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-.,:;()[]/+"
    }
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode()) + '"'


def comment(text: str) -> str:
    """Text that can stand in a C comment and cannot end it."""
    return re.sub(r"[^A-Za-z0-9 _.,:;()\[\]+=-]", "_", text)
