"""The table of clients in docs/nir.md, measured: python tests/clients_table.py prints it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nir
import torch
from interop_nets import deployment, write
from nets import NEURONS, random_samples, residual_net
from nir_graphs import IMAGE, affine, chain, conv, flat, if_
from torch import nn

from snn2hw.deployment import Deployment
from snn2hw.engines.cycle import simulate as run_program
from snn2hw.errors import Snn2hwError
from snn2hw.exporters.nir.files import write_graph
from snn2hw.interop import CLIENTS, load_in
from snn2hw.interop.simulate import REFERENCE, input_steps, simulate
from snn2hw.verification import comparison

TITLES = {"norse": "norse", "sinabs": "sinabs", "snntorch": "snnTorch", "spikingjelly": "SpikingJelly"}
STEPS = 6
SAMPLES = random_samples(4)


def net(gate: str, neuron: str) -> nn.Module:
    return residual_net(gate, NEURONS[neuron], max_pool=() if gate == "SPIKING" else (0,))


def rows() -> dict[str, tuple[Deployment | nir.NIRGraph, str, bool]]:
    """What is written: a compiled net or a graph, the profile, and whether quantised."""
    deployments = {
        key: deployment(net(*key), SAMPLES, STEPS) for key in [("SPIKING", "if"), ("IAND", "if"), ("IAND", "lif")]
    }
    plain_chain = chain(IMAGE, 3, a=conv(4, 2, 3, 3), n=if_(4, 6, 6), f=flat(4, 6, 6), b=affine(3, 144))
    first = if_(*IMAGE, threshold=0.3)
    return {
        "plain, IF behind one another": (plain_chain, "plain", False),
        "plain, IF with a skip": (
            chain(IMAGE, IMAGE, ("first", "fire"), first=first, weigh=conv(2, 2, 3, 3), fire=if_(*IMAGE)),
            "plain",
            False,
        ),
        "plain, IAND": (deployments["IAND", "if"], "plain", False),
        "portable, IF, sums": (deployments["SPIKING", "if"], "portable", False),
        "portable, IF, IAND and max pool": (deployments["IAND", "if"], "portable", False),
        "portable, LIF, IAND and max pool": (deployments["IAND", "lif"], "portable", False),
        "portable, quantised IF": (deployments["IAND", "if"], "portable", True),
        "portable, quantised LIF, truncation put back": (deployments["IAND", "lif"], "portable", True),
        "legacy, IF, sums": (deployments["SPIKING", "if"], "legacy", False),
        "legacy, quantised IF, sums": (deployments["SPIKING", "if"], "legacy", True),
    }


def measure(what: Deployment | nir.NIRGraph, profile: str, quantised: bool, client: str, path: Path) -> str:
    """One cell: equal, different, or refused."""
    if isinstance(what, nir.NIRGraph):
        write_graph(what, path)
    else:
        write(what, path, profile, quantised=quantised)
    shape = (2, 6, 6) if isinstance(what, nir.NIRGraph) else SAMPLES.shape
    samples = random_samples(4, shape=shape)
    expected = simulate(path, REFERENCE, samples, STEPS)
    if quantised and not isinstance(what, nir.NIRGraph):
        expected = run_program(what.program, samples)
    try:
        module = load_in(client, path)
        module(torch.from_numpy(input_steps(module.graph, samples, STEPS)))
    except Snn2hwError:
        return "refused"
    except Exception as error:  # a client that stumbles while it runs
        return f"fails ({type(error).__name__})"
    spikes = {name: values.numpy().swapaxes(0, 1) for name, values in module.spikes.items()}
    result = comparison.measure({name: values for name, values in expected.items() if name != "logits"}, spikes)
    return "**equal**" if result.equal and not result.only_a else "different"


def table() -> str:
    """The table as markdown."""
    lines = [f"| | {' | '.join(TITLES[client] for client in CLIENTS)} |", f"|---|{'---|' * len(CLIENTS)}"]
    with tempfile.TemporaryDirectory() as folder:
        for title, (what, profile, quantised) in rows().items():
            cells = [measure(what, profile, quantised, client, Path(folder, "net.nir")) for client in CLIENTS]
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
