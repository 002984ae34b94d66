"""load_in: a .nir file as a module of one of the clients."""

from __future__ import annotations

import copy
import importlib
import warnings
from pathlib import Path
from typing import Any, cast

import nir
import numpy as np
import torch
from torch import Tensor, nn

from snn2hw.errors import DataError, ModelError, OptionError, Snn2hwError
from snn2hw.interop.client import Client, batch_first
from snn2hw.interop.patch import PatchedNeuron, needs_patch
from snn2hw.network.layout import only
from snn2hw.network.neuron_rule import Neuron
from snn2hw.network.nir_file import read_nir

CLIENTS = ("norse", "sinabs", "snntorch", "spikingjelly")
INSTALL = {name: f"pip install 'snn2hw[{name}]'" for name in CLIENTS if name != "sinabs"} | {
    "sinabs": "pip install --no-deps sinabs pbr"  # its metadata asks for an older nir; it works with ours
}


class ClientModule(nn.Module):
    """A NIR graph in a client: x [T, N, *input shape] in, what the Output node gives as [T, N, ...] out.

    Every call starts from the initial state. `spikes` then holds what each spiking node emitted, [T, N, *shape], under
    its name in the file: neurons, gates, and the sums where branches meet. `patched` names the nodes that follow
    snn2hw's rule, since the client has none.
    """

    def __init__(self, client: Client, graph: nir.NIRGraph, module: nn.Module, *, patched: bool) -> None:
        super().__init__()
        self.client, self.graph, self.module = client, graph, module
        self.spikes: dict[str, Tensor] = {}
        self._seen: dict[str, list[Tensor]] = {}
        self._patches: dict[str, PatchedNeuron] = {}
        modules = dict(module.named_modules())
        for name, node in graph.nodes.items():
            if not is_spiking(node):
                continue
            neuron = next((modules[alias] for alias in _aliases(name) if alias in modules), None)
            if neuron is None:
                raise ModelError(f"{name}: {client.package} left this {type(node).__name__} node out.")
            if patched and needs_patch(node):
                self._patches[name] = PatchedNeuron(name, node)
                neuron.forward = _answer(self._patches[name], client)
            neuron.register_forward_hook(self._note(name))

    @property
    def patched(self) -> tuple[str, ...]:
        """Names of the nodes whose neuron was replaced."""
        return tuple(self._patches)

    def forward(self, x: Tensor) -> Tensor:
        """Run all steps from the initial state. Raises DataError for another shape than the file's input."""
        shape = tuple(int(n) for n in np.ravel(self.graph.nodes[only(self.graph, nir.Input)].input_type["input"]))
        if tuple(x.shape[2:]) != shape:
            raise DataError(f"x has shape {list(x.shape)}, but [T, N, {', '.join(map(str, shape))}] is needed.")
        self._seen = {}
        for patch in self._patches.values():
            patch.reset_state()
        with torch.no_grad():
            out = self.client.run(self.module, x.float())
        self.spikes = {name: self._stacked(outputs, x) for name, outputs in self._seen.items()}
        return out

    def _note(self, name: str) -> Any:
        def hook(_: nn.Module, __: object, result: Any) -> None:
            self._seen.setdefault(name, []).append(result[0] if isinstance(result, tuple) else result)

        return hook

    @staticmethod
    def _stacked(outputs: list[Tensor], x: Tensor) -> Tensor:
        if len(outputs) == len(x) and len(outputs[0]) == x.shape[1]:
            return torch.stack(outputs)
        return batch_first(outputs[0], len(x))


def load_in(client: str, path: Path | str, *, patched: bool = True) -> ClientModule:
    """Read a .nir file in another framework, by that framework's importer.

    Args:
        client: norse, sinabs, snntorch or spikingjelly.
        patched: put back what the file's metadata says beyond NIR (snn2hw export --allow-lossy); without, the client
            computes what it makes of the standard parameters.
    Raises:
        OptionError: there is no such client, or it is not installed.
        ModelError: the file is malformed, or the client refuses it.
    """
    framework = find_client(client)
    path = Path(path)
    graph = read_nir(path)
    try:
        with warnings.catch_warnings(action="ignore"):
            module = framework.build(copy.deepcopy(graph))  # importers write into the graph that they get
    except Snn2hwError:
        raise
    except Exception as error:  # clients raise and assert as they like
        raise ModelError(
            f"{path}: {client} refuses this file ({type(error).__name__}: {error}). A file of `snn2hw export --target "
            "nir --profile portable` runs in SpikingJelly, norse and snnTorch; one of --profile legacy in sinabs."
        ) from None
    return ClientModule(framework, graph, module, patched=patched)


def find_client(name: str) -> Client:
    """The client of this name, imported now. Raises OptionError if there is none or it cannot be imported."""
    if name not in CLIENTS:
        raise OptionError(f"client {name!r}: choose {', '.join(CLIENTS)}.")
    try:
        with warnings.catch_warnings(action="ignore"):
            return cast(Client, importlib.import_module(f"snn2hw.interop.{name}"))
    except ImportError as error:
        raise OptionError(f"{name} cannot be imported ({error}). Install it: {INSTALL[name]}.") from None


def is_spiking(node: nir.NIRNode) -> bool:
    """Whether a node emits spikes or sums of them: neurons, gates, and merges (profiles write them as 1x1 pools)."""
    if isinstance(node, nir.SumPool2d):
        return bool(np.all(np.asarray(node.kernel_size) == 1))
    merge = isinstance(node, nir.Scale) and bool(np.all(node.scale == 1))
    return merge or isinstance(node, Neuron | nir.Threshold)


def _aliases(name: str) -> tuple[str, ...]:
    plain = name.replace(".", "_")
    return plain, f"nir_node_{plain}"


def _answer(patch: PatchedNeuron, client: Client) -> Any:
    """The patch in the client's calling convention: snnTorch's neurons keep their state to themselves."""
    if client.package == "snntorch":
        return lambda current: patch(current)[0]
    if client.package == "sinabs":
        raise ModelError("sinabs runs all steps at once and cannot be patched. Use norse, snntorch or spikingjelly.")
    return patch
