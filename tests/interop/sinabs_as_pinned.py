"""A script for another process: sinabs with the nir and nirtorch that it asks for, without snn2hw.

python sinabs_as_pinned.py net.nir x.npz spikes.npz         x [T, N, ...] under `x`; the spikes of every IF node
"""

import sys
from graphlib import TopologicalSorter

import nir
import numpy as np
import torch
from sinabs.activation import MembraneReset, SingleSpike
from sinabs.layers import IAFSqueeze
from sinabs.nir import from_nir

path, data, output = sys.argv[1:]
graph = nir.read(path)
x = torch.from_numpy(np.load(data)["x"]).float()
steps, count = x.shape[:2]
module = from_nir(graph, batch_size=count)
for layer in module.modules():
    if isinstance(layer, IAFSqueeze):
        layer.spike_fn, layer.reset_fn, layer.min_v_mem = SingleSpike, MembraneReset(), None
        threshold = torch.as_tensor(layer.spike_threshold, dtype=torch.float32)
        layer.spike_threshold = torch.nn.Parameter(threshold, requires_grad=False)
sources = {name: [a for a, b in graph.edges if b == name] for name in graph.nodes}
place = {name.replace(".", "_"): at for at, name in enumerate(TopologicalSorter(sources).static_order())}
module.execution_order.sort(key=lambda node: place[node.name])
seen = {}
for name, node in graph.nodes.items():
    if isinstance(node, nir.IF):
        layer = module.get_submodule(name.replace(".", "_"))
        layer.register_forward_hook(lambda _, __, out, name=name: seen.__setitem__(name, out))
with torch.no_grad():
    module(x.transpose(0, 1).flatten(0, 1))
np.savez(output, nir=nir.__version__, **{name: out.reshape(count, steps, *out.shape[1:]) for name, out in seen.items()})
