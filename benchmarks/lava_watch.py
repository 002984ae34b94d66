"""Follows a run in Lava from outside: when it got how far, and the memory that all its processes took."""

from __future__ import annotations

import math
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

LOOK = 0.01  # seconds between two looks at the cycles done
WEIGH = 0.2  # and at the memory


@dataclass
class Watch:
    """When a run of run.py got how far, on the monotonic clock, and the most memory that it took."""

    folder: Path
    begun: float = field(default_factory=time.monotonic)
    compiled: float = math.nan
    first: tuple[float, int] = (math.nan, 0)  # when, and how many cycles were done
    last: tuple[float, int] = (math.nan, 0)
    memory: int = 0
    processes: int = 0
    over: bool = False

    def look(self) -> None:
        """Follow the run until `over`; for a thread."""
        weighed = 0.0
        while not self.over:
            now = time.monotonic()
            for path in self.folder.glob("snn2hw-run-*/processes.json"):
                if math.isnan(self.compiled):
                    self.compiled = now
                with suppress(OSError, ValueError):  # it may be going
                    self._note(now, np.load(path.with_name("cycles.npy"), mmap_mode="r"))
            if now - weighed > WEIGH and any(self.folder.iterdir()):  # before that run.py may still be a copy of this
                self.memory, weighed = max(self.memory, memory_of_descendants(os.getpid())), now
            time.sleep(LOOK)

    def _note(self, now: float, cycles: Any) -> None:
        done, self.processes = int(cycles.min()), len(cycles)
        if done > self.last[1]:
            self.last = (now, done)
            if not self.first[1]:
                self.first = self.last

    @property
    def ms_a_cycle(self) -> float:
        """From the first cycle seen done to the last."""
        cycles = self.last[1] - self.first[1]
        return 1e3 * (self.last[0] - self.first[0]) / cycles if cycles else math.nan


def memory_of_descendants(process: int) -> int:
    """Bytes of the children of a process and theirs; pages that several share are counted once."""
    total = 0
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, children.read_text().split()):
                with suppress(OSError):
                    lines = Path(f"/proc/{child}/smaps_rollup").read_text().splitlines()
                    total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
                total += memory_of_descendants(child)
    return total


@contextmanager
def watched() -> Iterator[Watch]:
    """A Watch on the run that is made inside, with its own folder of temporary files."""
    before = os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="b") as folder:
        os.environ["TMPDIR"] = folder
        watch = Watch(Path(folder))
        thread = threading.Thread(target=watch.look)
        thread.start()
        try:
            yield watch
        finally:
            watch.over = True
            thread.join()
            if before is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = before
