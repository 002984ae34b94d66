"""NIR files in other frameworks: one calling convention for all, and every spiking node's spikes.

    net = load_in("norse", "net.nir")
    out = net(x)                                # [T, N, ...] in, [T, N, ...] out, from the initial state
    net.spikes["layer1.0.neuron1"]              # [T, N, ...]

Each client is a small module here, with the patches that docs/nir.md lists and no others. Clients are optional:
`pip install snn2hw[norse]`.
"""

from __future__ import annotations

from snn2hw.interop.load import CLIENTS, ClientModule, load_in

__all__ = ["CLIENTS", "ClientModule", "load_in"]
