"""Memory: what the C code keeps, where, and how much flash and RAM that is. All of it is static."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from snn2hw import ir
from snn2hw.exporters.c.arrays import SIZES
from snn2hw.exporters.c.parameters import Parameter, parameters_of
from snn2hw.exporters.c.plan import Convolved, Plan, Stage

INT32 = 1 << 31
CODE_BYTES, CODE_BYTES_PER_STAGE = 2048, 1024
"""What the code itself takes at most, with -Os or -O2 for a microcontroller; tests hold it against linked files."""
ALIGNMENT = 8


@dataclass(frozen=True, kw_only=True)
class Use:
    """What one stage takes: bytes of constants in flash, and of states in RAM."""

    stage: Stage
    constants: int
    states: int


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Where everything lies.

    places: by map its first element in the array of its C type, which maps share that are not needed at once. maps and
    scratch: by C type the elements of those arrays. uses: what belongs to one stage alone.
    """

    places: dict[str, int]
    maps: dict[str, int]
    scratch: dict[str, int]
    uses: tuple[Use, ...]

    @property
    def constants(self) -> int:
        """Bytes of weights and other parameters."""
        return sum(use.constants for use in self.uses)

    @property
    def flash(self) -> int:
        """Bytes of flash at most: constants, and room for the code."""
        return self.constants + CODE_BYTES + len(self.uses) * CODE_BYTES_PER_STAGE

    @property
    def states(self) -> int:
        """Bytes of what neurons and the read-out keep from step to step."""
        return sum(use.states for use in self.uses)

    @property
    def values(self) -> int:
        """Bytes of the values of one step."""
        return sum(aligned(SIZES[ctype] * count) for ctype, count in self.maps.items())

    @property
    def working(self) -> int:
        """Bytes of sums, patches and events of the pixel or rows that are computed."""
        return sum(aligned(SIZES[_type_of_scratch(name)] * count) for name, count in self.scratch.items())

    @property
    def ram(self) -> int:
        """Bytes of RAM, without the stack, the caller's input and the pointer to an observer."""
        return self.states + self.values + self.working


def measure(plan: Plan) -> Memory:
    """Where everything of a plan lies, and how much it takes."""
    places, maps = _share(plan)
    return Memory(places=places, maps=maps, scratch=_scratch(plan), uses=tuple(map(_use, plan.stages)))


def sums_type(stage: Stage) -> str:
    """The C type of a stage's sums."""
    return "int32_t" if stage.reach < INT32 else "int64_t"


def total_type(plan: Plan, stage: Stage) -> str:
    """The C type of the read-out's totals."""
    return "int32_t" if plan.program.bounds[stage.name].accumulator < INT32 else "int64_t"


def aligned(size: int) -> int:
    """A size with what the linker may leave free behind it."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def states_of(stage: Stage) -> int:
    """How many states of 32 bits each neuron of a stage keeps."""
    if not isinstance(stage.node, ir.Neuron):
        return 0
    return 2 if has_memory(stage.node) else 1


def has_memory(node: ir.Neuron) -> bool:
    """Whether something is left of the current from step to step."""
    return bool((node.current_decay != 4096).any())


def _use(stage: Stage) -> Use:
    arrays: list[Parameter] = [each for each in parameters_of(stage) if each.values.size > 1]
    constants = sum(aligned(SIZES[each.ctype] * each.values.size) for each in arrays)
    for term in stage.terms:
        if isinstance(term, Convolved):
            constants += aligned(term.weight.size * term.weight.dtype.itemsize)
    size = int(np.prod(stage.shape))
    states = aligned(4 * size) * states_of(stage)
    if isinstance(stage.node, ir.Readout):
        states = aligned(8 * size)
    return Use(stage=stage, constants=constants, states=states)


def _share(plan: Plan) -> tuple[dict[str, int], dict[str, int]]:
    """By map its place among those of its type, and by type how many elements all need."""
    last: dict[str, int] = {}
    for number, stage in enumerate(plan.stages):
        for name in (*(term.map.name for term in stage.terms), *((stage.result.name,) if stage.result else ())):
            last[name] = number
    places: dict[str, int] = {}
    needed: dict[str, int] = {}
    live: list[tuple[str, str, int, int]] = []  # map, type, first element, element behind the last
    for number, stage in enumerate(plan.stages):
        live = [entry for entry in live if last[entry[0]] >= number]
        result = stage.result
        if result is None:
            continue
        taken = sorted((first, stop) for _, ctype, first, stop in live if ctype == result.ctype)
        place = _first_gap(taken, result.size)
        places[result.name] = place
        live.append((result.name, result.ctype, place, place + result.size))
        needed[result.ctype] = max(needed.get(result.ctype, 0), place + result.size)
    return places, needed


def _first_gap(taken: Iterable[tuple[int, int]], size: int) -> int:
    """The first element of `size` free ones, between and behind the taken ones, which are in order."""
    start = 0
    for first, stop in taken:
        if first - start >= size:
            break
        start = max(start, stop)
    return start


def _scratch(plan: Plan) -> dict[str, int]:
    """By name of a working array how many elements it has; the names end in their C types."""
    needed: dict[str, int] = {}

    def need(name: str, count: int) -> None:
        needed[name] = max(needed.get(name, 0), count)

    for stage in plan.stages:
        need(f"sums {sums_type(stage)}", stage.shape[2])
        events = counts = 0
        for term in stage.terms:
            if not isinstance(term, Convolved):
                continue
            if term.kernel == "dense":
                need(f"patch {term.map.ctype}", term.taps)
            if term.kernel == "events":
                need(f"rows {rows_type(plan)}", term.window[0] * term.window[1] * (term.listed_per_pixel - 1) + 1)
                events += term.pixels * term.listed_per_pixel
                counts += term.rows * term.map.width
        if events:
            need("events uint16_t", events)
        if counts:
            need("counts uint16_t", counts)
    return needed


def rows_type(plan: Plan) -> str:
    """The C type of numbers of rows of weights."""
    terms = [term for stage in plan.stages for term in stage.terms if isinstance(term, Convolved)]
    return "uint16_t" if all(term.taps < 1 << 16 for term in terms if term.kernel == "events") else "uint32_t"


def _type_of_scratch(name: str) -> str:
    return name.split()[1]
