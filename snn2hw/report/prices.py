"""Price profiles: what one event costs in energy and time, each figure with its unit, source and grade of evidence.

A profile is one TOML file of targets/prices, or a file of the user's; docs/report.md describes its fields.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from snn2hw.errors import OptionError
from snn2hw.targets import FOLDER, known_chips

PRICES = FOLDER / "prices"
Rule = Literal["count", "value", "dense"]
RULES: dict[Rule, str] = {
    "count": "a graded spike is one operation with each synapse it meets, whatever its value",
    "value": "a graded spike is as many operations as its value: each branch of a gate reaches the synapses by itself",
    "dense": "a layer that takes graded spikes computes every product, those with zeros too",
}
ENERGY_UNITS = {"fJ": 1e-15, "pJ": 1e-12, "nJ": 1e-9, "uJ": 1e-6, "mJ": 1e-3, "J": 1.0}
TIME_UNITS = {"ps": 1e-12, "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}

ARITHMETIC = ("45nm-fp32", "45nm-int8")  # the first also prices the formula of the papers
NEEDED = "synaptic_operation"
COMPONENTS = {
    NEEDED: "a binary spike meeting a synapse",
    "synaptic_operation_conv": "the same in convolutions",
    "synaptic_operation_linear": "the same in fully connected layers",
    "graded_operation": "a graded value meeting a synapse",
    "neuron_active": "an update of a neuron that an event reaches, that has a bias, or that fires",
    "neuron_inactive": "any other update",
    "spike": "a neuron firing",
    "message": "a spike sent to a layer",
    "bias": "a bias added",
    "hop_x": "a message passing a router eastward or westward",
    "hop_y": "a message passing a router northward or southward",
}
TIMES = {*COMPONENTS, "barrier_least", "barrier_most"}
REFINEMENTS = {"synaptic_operation_conv", "synaptic_operation_linear", "graded_operation"}  # NEEDED stands in for them
MAPPED = {"hop_x", "hop_y"}  # known only when layers have places on a chip


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure: its value in SI units (joules or seconds), as it was written, where from, and how good."""

    si: float
    value: float
    unit: str
    source: str
    evidence: str


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The prices of one chip or circuit. no_price: why there are none; then `prices` is empty.

    chip: whose places of the layers count the hops; None for prices that know no mesh.
    """

    name: str
    title: str
    source: str
    evidence: str
    graded: Rule
    prices: dict[str, Figure]
    times: dict[str, Figure]
    neurons_per_core: int | None
    unpriced: tuple[str, ...]
    chip: str | None = None
    no_price: str | None = None

    def price(self, component: str) -> float:
        """Joules of one event; 0 of what has no price, which `unpriced` then lists."""
        return _figure(self.prices, component)

    def time(self, component: str) -> float:
        """Seconds of one event; 0 of what has no figure."""
        return _figure(self.times, component)


def known_profiles() -> tuple[str, ...]:
    """Names of the profiles that come with this package."""
    return tuple(sorted(path.stem for path in PRICES.glob("*.toml")))


def load_arithmetic() -> tuple[float, float]:
    """Joules of a product and of a sum in the formula of the papers."""
    (profile,) = load_profiles(ARITHMETIC[:1])
    return profile.price("graded_operation"), profile.price("synaptic_operation")


def load_profiles(names: Collection[str], file: Path | None = None) -> tuple[Profile, ...]:
    """The named profiles, all if none is named, and that of the user's `file`.

    Raises OptionError for an unknown name, and for a file with a missing, negative or unknown entry.
    """
    known = known_profiles()
    if unknown := [name for name in names if name not in known]:
        raise OptionError(
            f"--profile {unknown[0]}: there is no such price profile. Known are {', '.join(known)}; one of your own is "
            "named with --prices FILE."
        )
    chosen = [PRICES / f"{name}.toml" for name in known if name in names or not names]
    profiles = [read_profile(path) for path in [*chosen, *([] if file is None else [file])]]
    if len({profile.name for profile in profiles}) < len(profiles):
        raise OptionError(f"{file}: a profile named {profiles[-1].name} is there already. Give the file another name.")
    return tuple(profiles)


def read_profile(path: Path) -> Profile:
    """Read one profile. Raises OptionError that names the entry at fault."""
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise OptionError(f"{path}: there is no such file of prices.") from None
    except (OSError, ValueError) as error:
        raise OptionError(f"{path}: not a readable TOML file ({error}).") from None
    texts = {name: _text(path, content, name) for name in ("title", "source", "evidence", "graded")}
    if texts["graded"] not in RULES:
        raise OptionError(f"{path}: graded = {texts['graded']!r}; choose {', '.join(RULES)}.")
    fields = {*texts, "unpriced", "chip", "no_price", "prices", "times"}
    if unknown := [name for name in content if name not in fields]:
        raise OptionError(f"{path}: {unknown[0]}: there is no such entry. Known are {', '.join(sorted(fields))}.")
    unpriced = content.get("unpriced", [])
    if not isinstance(unpriced, list) or not all(isinstance(item, str) for item in unpriced):
        raise OptionError(f"{path}: unpriced must be a list of texts: what the figures leave out.")
    no_price = _text(path, content, "no_price") if "no_price" in content else None
    chip = _text(path, content, "chip") if "chip" in content else None
    if chip is not None and chip not in known_chips():
        raise OptionError(f"{path}: chip = {chip!r}; there is no such chip. Known are {', '.join(known_chips())}.")
    prices = _figures(path, content, "prices", COMPONENTS, ENERGY_UNITS)
    times = dict(_table(path, content, "times"))
    per_core = times.pop("neurons_per_core", None)
    if per_core is not None and (not isinstance(per_core, int) or per_core < 1):
        raise OptionError(f"{path}: times.neurons_per_core = {per_core!r}; give a whole number from 1.")
    if times and per_core is None:
        raise OptionError(f"{path}: times.neurons_per_core is missing: over how many cores a layer's work is spread.")
    if no_price is not None and (prices or times):
        raise OptionError(f"{path}: no_price says that there are no figures, but it gives some. Leave one out.")
    if no_price is None and NEEDED not in prices:
        raise OptionError(f"{path}: prices.{NEEDED} is missing. Every profile needs it, or no_price with the reason.")
    return Profile(
        name=path.stem,
        title=texts["title"],
        source=texts["source"],
        evidence=texts["evidence"],
        graded=texts["graded"],
        prices=prices,
        times=_figures(path, {"times": times}, "times", TIMES, TIME_UNITS),
        neurons_per_core=per_core,
        unpriced=tuple(unpriced),
        chip=chip,
        no_price=no_price,
    )


def _figure(figures: dict[str, Figure], component: str) -> float:
    figure = figures.get(component) or (figures.get(NEEDED) if component in REFINEMENTS else None)
    return 0.0 if figure is None else figure.si


def _text(path: Path, content: dict[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not value.strip():
        raise OptionError(f"{path}: {name} is missing. Give it as a text.")
    return value


def _table(path: Path, content: dict[str, Any], name: str) -> dict[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, dict):
        raise OptionError(f"{path}: {name} must be a table of figures.")
    return table


def _figures(
    path: Path, content: dict[str, Any], table: str, known: Collection[str], units: dict[str, float]
) -> dict[str, Figure]:
    figures = {}
    for name, entry in _table(path, content, table).items():
        where = f"{path}: {table}.{name}"
        if name not in known:
            raise OptionError(f"{where}: there is no such figure. Known are {', '.join(sorted(known))}.")
        if not isinstance(entry, dict) or "value" not in entry:
            raise OptionError(f'{where}: value is missing. Write {{ value = 1.0, unit = "{next(iter(units))}", ... }}.')
        value = entry["value"]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise OptionError(f"{where}: value = {value!r}; give a number from 0.")
        unit = _text(Path(where), entry, "unit")
        if unit not in units:
            raise OptionError(f"{where}: unit = {unit!r}; choose {', '.join(units)}.")
        sources = {name: _text(Path(where), entry, name) for name in ("source", "evidence")}
        figures[name] = Figure(si=value * units[unit], value=float(value), unit=unit, **sources)
    return figures
