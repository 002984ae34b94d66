"""Reads the JSON objects of program.npz key by key; messages name what is missing or wrong, and in which object."""

from __future__ import annotations

from typing import Any

from .records import Pair, ProgramError


class Entry:
    """One JSON object of the file. `owner` names it in messages. Every reader raises ProgramError."""

    def __init__(self, owner: str, value: object) -> None:
        if not isinstance(value, dict):
            raise ProgramError(f"{owner} is no JSON object but {value!r}")
        self.owner, self.value = owner, value

    def get(self, key: str) -> Any:
        if key not in self.value:
            raise ProgramError(f"{self.owner} has no {key!r}")
        return self.value[key]

    def text(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str) or not value:
            raise ProgramError(f"{self.owner}: {key} is {value!r}, expected a name")
        return value

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        value = self.get(key)
        if value not in choices:
            raise ProgramError(f"{self.owner}: {key} is {value!r}, expected one of {', '.join(choices)}")
        return str(value)

    def integer(self, key: str, *, low: int | None = None, high: int | None = None) -> int:
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ProgramError(f"{self.owner}: {key} is {value!r}, expected an integer")
        if (low is not None and value < low) or (high is not None and value > high):
            raise ProgramError(f"{self.owner}: {key} is {value}, legal is {low} to {'any' if high is None else high}")
        return value

    def number(self, key: str, *, least: float | None = None) -> float:
        """A finite number: above 0, or of at least `least`."""
        value = self.get(key)
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")
        if not number or not (value > 0 if least is None else value >= least):
            raise ProgramError(f"{self.owner}: {key} is {value!r}, expected a positive number")
        return float(value)

    def numbers(self, key: str, *, length: int) -> tuple[float, ...]:
        value = self.get(key)
        if not isinstance(value, list) or len(value) != length:
            raise ProgramError(f"{self.owner}: {key} is {value!r}, expected {length} numbers")
        return tuple(Entry(self.owner, {key: item}).number(key) for item in value)

    def truth(self, key: str) -> bool:
        value = self.get(key)
        if not isinstance(value, bool):
            raise ProgramError(f"{self.owner}: {key} is {value!r}, expected true or false")
        return value

    def entry(self, key: str) -> Entry:
        return Entry(f"{key} of {self.owner}", self.get(key))

    def integers(self, key: str, *, low: int, length: int | None = None) -> tuple[int, ...]:
        value = self.get(key)
        if not isinstance(value, list) or (length is not None and len(value) != length):
            raise ProgramError(f"{self.owner}: {key} is {value!r}, expected {length or 'some'} integers")
        return tuple(Entry(self.owner, {key: item}).integer(key, low=low) for item in value)

    def pair(self, key: str, *, low: int) -> Pair:
        first, second = self.integers(key, low=low, length=2)
        return first, second

    def items(self, key: str) -> list[Entry]:
        value = self.get(key)
        if not isinstance(value, list):
            raise ProgramError(f"{self.owner}: {key} is no list")
        return [Entry(f"{key}[{index}] of {self.owner}", item) for index, item in enumerate(value)]
