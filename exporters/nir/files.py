"""Writing .nir files: complete, or not at all."""

from __future__ import annotations

from pathlib import Path

import h5py
import nir
import numpy as np

from snn2hw.files import beside


def write_graph(graph: nir.NIRGraph, path: Path, *, legacy: bool = False) -> None:
    """Write a NIR graph beside `path` and rename it into place. `legacy`: without what nir 1.0.4 does not know."""
    with beside(path) as part:
        nir.write(part, graph, compression="lzf")  # half of gzip's time for a tenth more bytes
        if legacy:
            _drop_zero_resets(part)


def _drop_zero_resets(path: Path) -> None:
    """Take out v_reset where it is 0, which is what its absence means: nir 1.0.4 stumbles over the name."""
    with h5py.File(path, "r+") as file:
        for node in file["node/nodes"].values():
            if "v_reset" in node and not np.any(node["v_reset"][()]):
                del node["v_reset"]
