"""Grouping: which regions share one Lava process. Lava runs each process as one of the operating system."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Collection

from program import Conv, Linear, Program, ProgramError, Readout, Region

MOST = 300  # each Lava process takes file descriptors of all the others; beyond this, systems run out of them
PER_CORE = 2  # keeps the cores busy although groups differ in cost; each process costs time in every cycle

# Costs in multiplications, as a core does about 40 of them a nanosecond with BLAS.
PER_OUTPUT = 50  # of any node: reading, a few passes over it, recording
PER_WEIGHT = 10  # weights come from memory in every cycle
PER_TRANSFER = 100  # a value that goes from process to process is copied five times


def default_limit() -> int:
    """How many Lava processes this machine's cores keep busy."""
    return min(MOST, PER_CORE * len(os.sched_getaffinity(0)) + 1)


def group_regions(program: Program, limit: int, alone: Collection[str] = ()) -> tuple[Region, ...]:
    """Join regions that follow each other until `limit` processes, the source included, hold them all.

    Regions named in `alone` are left as they are.

    The costliest group is as cheap as can be. Which regions share a process changes no value and no cycle: a region's
    nodes are run as before, and what would go through a channel arrives in the same cycle. Raises ProgramError if the
    program branches between its regions and cannot be joined as far.
    """
    low, high = 0, sum(_cost(program, region) for region in program.regions)
    groups = _join(program, math.inf, alone)
    if len(groups) + 1 > limit:
        raise ProgramError(
            f"the regions of this program can share {len(groups) + 1} Lava processes at least; {limit} are allowed. "
            f"Use --lava-processes {len(groups) + 1}."
        )
    while low < high:  # the lowest cost of a group that needs no more than `limit` processes
        middle = (low + high) // 2
        tried = _join(program, middle, alone)
        if len(tried) + 1 > limit:
            low = middle + 1
        else:
            groups, high = tried, middle
    return groups


def _join(program: Program, most: float, alone: Collection[str]) -> tuple[Region, ...]:
    """Put each region into the group before it as long as the group costs no more than `most`."""
    readers = Counter(region.entry for region in program.regions)
    groups: dict[str, Region] = {}  # by exit
    for region in program.regions:
        before = groups.get(region.entry)
        if before is not None and readers[region.entry] == 1 and not {before.name, region.name} & {*alone}:
            joined = _joined(program, before, region)
            if _cost(program, joined) <= most:
                del groups[region.entry]
                region = joined
        groups[region.exit] = region
    return tuple(groups.values())


def _joined(program: Program, first: Region, second: Region) -> Region:
    is_last = isinstance(program.nodes[second.exit], Readout)
    return Region(
        name=f"{first.name.partition(' to ')[0]} to {second.name}",
        kind="readout" if is_last else "chain",
        nodes=(*first.nodes, *second.nodes),
        entry=first.entry,
    )


def _cost(program: Program, region: Region) -> int:
    """What a region costs in a cycle, in multiplications."""
    size = {name: math.prod(program.nodes[name].shape) for name in (region.entry, *region.nodes)}
    total = PER_TRANSFER * (size[region.entry] + size[region.exit])
    for name in region.nodes:
        node = program.nodes[name]
        total += PER_OUTPUT * size[name]
        if isinstance(node, Conv):
            total += (PER_WEIGHT + math.prod(node.shape[1:])) * node.weight.size
        elif isinstance(node, Linear):
            total += (PER_WEIGHT + 1) * node.weight.size
    return total
