"""How long a NIR file takes to be written and read again: python benchmarks/nir_files.py [depth ...]

For each depth of SEW ResNet at 224x224 (random weights, ADD), in one process each: seconds and peak memory to write
the plain float graph and to read it back strictly, and whether what was read is what was written.
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

from export import SHAPE, build, measure_each

from snn2hw.exporters.nir.files import write_graph
from snn2hw.frontends.torch.trace import trace
from snn2hw.network.nir_file import read_nir, same_network


def measure(depth: int) -> None:
    """Write and read one net and print the figures."""
    network = trace(build(depth), SHAPE).network
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.nir")
        marks = [time.perf_counter()]
        write_graph(network, path)
        marks.append(time.perf_counter())
        again = read_nir(path)
        marks.append(time.perf_counter())
        size = path.stat().st_size / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    write, read = marks[1] - marks[0], marks[2] - marks[1]
    print(
        f"SEW-ResNet-{depth}: {write + read:.1f} s (write {write:.1f} s, read {read:.1f} s), {size:.0f} MB, "
        f"peak memory {peak:.2f} GiB, {'equal' if same_network(again, network) else 'DIFFERENT'}",
        flush=True,
    )


if __name__ == "__main__":
    measure_each(__file__, measure)
