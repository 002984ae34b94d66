"""Every network of SpikingJelly's sew_resnet and spiking_resnet: traced, compiled, run, and brought in as a state dict.

Random weights and BatchNorm statistics as after training, so that every layer fires. Images of 32x32; the deep and the
wide nets see one sample for one step.
"""

from __future__ import annotations

import gc
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import nir
import numpy as np
import pytest
import torch
import torchvision_stand_in  # noqa: F401
from nets import run_requantised
from numpy.typing import NDArray
from spikingjelly.activation_based import functional, neuron, surrogate
from spikingjelly.activation_based.model import sew_resnet, spiking_resnet
from torch import Tensor, nn

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.engines import cycle, fast
from snn2hw.errors import ModelError, OptionError
from snn2hw.frontends.checkpoints.checkpoint import load_weights
from snn2hw.frontends.checkpoints.hints import Hints
from snn2hw.frontends.checkpoints.state_dict import recognise
from snn2hw.frontends.torch.trace import Traced, trace
from snn2hw.models import neurons as model_neurons
from snn2hw.models.checkpoint import build_model
from snn2hw.models.sew_resnet import imagenet_net, seven_b_net, wide_seven_b_net
from snn2hw.network.nir_file import same_network
from snn2hw.network.reference import Reference
from snn2hw.pipeline import Options, compile_network

SHAPE = (3, 32, 32)
SMALL = ("resnet18", "resnet34", "resnet50")
DEEP_OR_WIDE = ("resnet152", "resnext50_32x4d", "resnet101", "wide_resnet50_2", "wide_resnet101_2", "resnext101_32x8d")
WIDEST = ("wide_resnet101_2", "resnext101_32x8d")
"""As Spiking ResNets these are compared in floats alone: they take gigabytes and half a minute each."""
GATES = ("ADD", "AND", "IAND")
MODES = {"ADD": "m", "AND": "s", "IAND": "m"}
"""The step mode of the large nets, one each: what differs between the modes does not depend on the size."""
BIAS_BEFORE_GATE = {"ADD": 0.2, "AND": 2.2, "IAND": -0.7, "IAND reversed": 0.3, None: 0.2}
"""Mean of the last BatchNorm's biases: through dozens of blocks, AND needs many spikes and IAND few."""


def _slow(names: Sequence[str]) -> list[Any]:
    """Names as parameters of tests that make test-all runs alone."""
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


def spikingjelly_net(name: str, connect: str | None, **options: Any) -> nn.Module:
    """A net of SpikingJelly in step mode m, its BatchNorms as after training: the statistics of each layer, shifted."""
    torch.manual_seed(0)
    options = {"spiking_neuron": neuron.IFNode, "num_classes": 10} | options
    if connect is None:
        net = getattr(spiking_resnet, f"spiking_{name}")(**options)
    else:
        net = getattr(sew_resnet, f"sew_{name}")(cnf=connect, **options)
    functional.set_step_mode(net, "m")
    kind = f"{connect} reversed" if connect == "IAND" and name not in ("resnet18", "resnet34") else connect
    for path, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            is_last = path.endswith(".bn3") or (path.endswith(".bn2") and not hasattr(_parent(net, path), "bn3"))
            module.weight.data.uniform_(0.8, 1.2)
            module.bias.data.normal_(BIAS_BEFORE_GATE[kind] if is_last else 0.5, 0.1)
            module.momentum = 1.0
    with torch.no_grad():
        net.train()(torch.randn(1, 4, *SHAPE))
    functional.reset_net(net)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            deviation = module.running_var.clamp_(min=1e-3).sqrt()
            module.running_mean += 0.1 * deviation * torch.randn_like(deviation)
            module.running_var *= 0.8 + 0.4 * torch.rand_like(deviation)
    return net.eval()


def _parent(net: nn.Module, path: str) -> nn.Module:
    return net.get_submodule(path.rpartition(".")[0])


def images(count: int, shape: tuple[int, ...] = SHAPE) -> Samples:
    return Samples(np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32), None, False)


def check_floats(traced: Traced, samples: Samples, timesteps: int) -> None:
    """The NIR graph computes what the model computes, and every layer fires."""
    steps = torch.from_numpy(samples.steps(timesteps)).to(traced.dtype)
    fired, compared, differing = dict.fromkeys(traced.origin, False), 0, 0
    total: dict[str, Tensor | float] = {"model": 0.0, "graph": 0.0}
    for step, graph in zip(traced.run(steps), Reference(traced.network, dtype=traced.dtype).run(steps), strict=True):
        for name in traced.origin:
            fired[name] |= bool(step[name].any())
            compared += step[name].numel()
            differing += int((step[name] != graph[name]).sum())
        total = {"model": total["model"] + step["logits"], "graph": total["graph"] + graph["output"]}
    assert [name for name, any_spike in fired.items() if not any_spike] == []
    assert differing <= 1e-4 * compared
    assert float((total["model"] - total["graph"]).abs().max()) / timesteps <= 1e-3


class _NeededSynapse(cycle._Synapse):
    """A synapse that computes only what a sample reads: a deep net's pipeline is empty most of the time."""

    steps = 0

    def __init__(self, node: ir.Synapse, program: ir.Program) -> None:
        super().__init__(node, program)
        self.latency = program.schedule.latency[node.name]

    def answer(self, x: NDArray[np.int64], cycle: int, where: str) -> NDArray[np.int64]:
        if 0 <= cycle - self.latency < self.steps:
            return super().answer(x, cycle, where)
        emitted, self.ready = self.ready, np.zeros_like(self.ready)
        return emitted


def check_integers(traced: Traced, samples: Samples, timesteps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program gives the spikes and logits of the model that has the program's integers, and every layer fires."""
    program = compile_network(traced.network, samples, Options(timesteps=timesteps))
    monkeypatch.setattr(cycle, "_Synapse", _NeededSynapse)
    monkeypatch.setattr(_NeededSynapse, "steps", len(samples) * timesteps)
    spikes = cycle.simulate(program, samples)
    quick = fast.simulate(program, samples)
    assert quick.keys() == spikes.keys() and all(np.array_equal(quick[name], spikes[name]) for name in spikes)
    expected = run_requantised(traced, program, samples)
    layers = {name for name in traced.origin if not isinstance(traced.network.nodes[name], nir.Flatten)}
    assert layers <= spikes.keys()  # a flatten is no node of a program
    for name in layers:
        assert np.array_equal(spikes[name], expected[name]), name
        assert spikes[name].any(), name
    logits = expected["logits"]  # whole numbers up to the rounding of float64
    assert np.array_equal(spikes["logits"], logits.round()) and np.abs(logits - logits.round()).max() < 1e-6


@pytest.mark.parametrize("name", ["resnet18", *_slow(["resnet34", "resnet50"])])
def test_images_of_full_size(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64: over millions of neurons float32 rounds one of them across its threshold, and others follow it."""
    shape = (3, 224, 224)
    traced = trace(spikingjelly_net(name, "ADD").double(), shape)
    check_floats(traced, images(1, shape), 1)
    check_integers(traced, images(1, shape), 1, monkeypatch)


@pytest.mark.parametrize("connect", [*GATES, "spiking"])
@pytest.mark.parametrize("build", [seven_b_net, wide_seven_b_net])
def test_nets_for_events(build: Any, connect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """7B-Net and Wide-7B-Net with PLIF neurons, on frames of event counts."""
    torch.manual_seed(0)
    net = build(connect, model_neurons.ParametricLIFNode).eval()
    for path, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.05, 0.2)
            before_gate = path.endswith(".bn2")
            module.bias.data.normal_({"AND": 3.0, "IAND": 0.2}.get(connect, 0.4) if before_gate else 0.8, 0.2)
    frames = np.random.default_rng(0).poisson(0.6, (1, 2, 2, 128, 128)).astype(np.float32)
    samples = Samples(frames, None, True)
    traced = trace(net, (2, 128, 128))
    check_floats(traced, samples, 2)
    check_integers(traced, samples, 2, monkeypatch)


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    """The wide nets hold gigabytes in cycles of references."""
    yield
    gc.collect()


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("connect", [*GATES, None])
@pytest.mark.parametrize("name", ["resnet18", *_slow(["resnet34"]), "resnet50"])
def test_small_nets(name: str, connect: str | None, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = spikingjelly_net(name, connect)
    functional.set_step_mode(net, mode)
    traced, samples = trace(net, SHAPE), images(2)
    check_floats(traced, samples, 2)
    if mode == "m":
        check_integers(traced, samples, 2, monkeypatch)


@pytest.mark.parametrize("connect", ["ADD", *_slow(["AND"]), "IAND", *_slow([None])])
@pytest.mark.parametrize("name", [*DEEP_OR_WIDE[:2], *_slow(DEEP_OR_WIDE[2:])])
def test_deep_and_wide_nets(name: str, connect: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    net = spikingjelly_net(name, connect)
    functional.set_step_mode(net, MODES.get(str(connect), "s"))
    traced, samples = trace(net, SHAPE), images(1)
    del net
    check_floats(traced, samples, 1)
    if connect == "IAND" or (connect is None and name not in WIDEST):
        check_integers(traced, samples, 1, monkeypatch)


# The same nets as bare state dicts, without SpikingJelly

ALL_NETS = (*SMALL, *DEEP_OR_WIDE)
SAID = Hints(input_shape=SHAPE, timesteps=2)


def renamed(network: nir.NIRGraph) -> nir.NIRGraph:
    """A NIR graph of this project's module with the names of SpikingJelly's."""

    def other(name: str) -> str:
        name = re.sub(r"\bneuron(\d)\b", r"sn\1", name.replace("downsample.2", "downsample_sn"))
        return "model.flatten" if name == "flatten" else name  # there a layer, here a function

    nodes = {other(name): node for name, node in network.nodes.items()}
    edges = [(other(source), other(target)) for source, target in network.edges]
    return nir.NIRGraph(nodes=nodes, edges=edges, type_check=False)


def by_state_dict(net: nn.Module, **hints: Any) -> nn.Module:
    recognised = recognise(net.state_dict(), None, replace(SAID, **hints))
    model = build_model(recognised.arch, recognised.config)
    load_weights(model, recognised.state, "state dict")
    return model


def leaky(**options: Any) -> nn.Module:
    return neuron.LIFNode(tau=1.5, decay_input=False, v_reset=None, v_threshold=0.8)


def learned(**options: Any) -> nn.Module:
    return neuron.ParametricLIFNode(init_tau=1.7)


LIF = "LIF,tau=1.5,decay_input=false,v_reset=none,v_threshold=0.8"


@pytest.mark.parametrize(
    ("name", "connect", "options", "hints"),
    [
        ("resnet18", "ADD", {}, {"connect": "ADD", "neuron": "IF"}),
        ("resnet18", "IAND", {}, {"connect": "iand", "neuron": "if", "arch": "sew_resnet18"}),
        ("resnet34", "AND", {"spiking_neuron": leaky}, {"connect": "AND", "neuron": LIF}),
        ("resnet50", "IAND", {}, {"connect": "IAND", "neuron": "IF", "iand_order": "reversed"}),
        ("resnet50", "ADD", {"spiking_neuron": learned}, {"connect": "ADD"}),
        ("resnext50_32x4d", "AND", {}, {"connect": "AND", "neuron": "IF"}),
        ("resnet18", None, {}, {"arch": "spiking_resnet", "neuron": "IF"}),
        ("resnet50", None, {"spiking_neuron": learned}, {}),
    ],
)
def test_a_state_dict_gives_the_network_of_the_module(
    name: str, connect: str | None, options: dict[str, Any], hints: dict[str, Any]
) -> None:
    net = spikingjelly_net(name, connect, **options)
    functional.set_step_mode(net, "s")
    module, state = trace(net, SHAPE), trace(by_state_dict(net, **hints), SHAPE)
    assert same_network(module.network, renamed(state.network))


def test_a_state_dict_gives_the_program_of_the_module() -> None:
    net = spikingjelly_net("resnet18", "IAND")
    samples = images(2)
    module = compile_network(trace(net, SHAPE).network, samples, Options(timesteps=2))
    network = trace(by_state_dict(net, connect="IAND", neuron="IF"), SHAPE).network
    state = compile_network(renamed(network), samples, Options(timesteps=2))
    assert {node.name for node in module.graph} == {node.name for node in state.graph}
    for node in module.graph:
        twin = state.graph[node.name]
        assert type(node) is type(twin)
        for key in vars(node).keys() - {"inputs"}:
            assert np.array_equal(getattr(node, key), getattr(twin, key)), (node.name, key)
        delays = [
            dict(zip(one.inputs, program.schedule.delays[node.name], strict=True))
            for one, program in ((node, module), (twin, state))
            if not isinstance(one, ir.Input)
        ]
        assert not delays or delays[0] == delays[1]
    assert module.bounds == state.bounds
    assert module.schedule.latency == state.schedule.latency
    assert module.schedule.reset_offset == state.schedule.reset_offset


def test_the_order_of_iand_matters() -> None:
    net = spikingjelly_net("resnet50", "IAND")
    x = torch.from_numpy(images(1).steps(1))
    logits = [
        next(trace(by_state_dict(net, connect="IAND", neuron="IF", iand_order=order), SHAPE).run(x))["logits"]
        for order in ("paper", "reversed")
    ]
    with torch.no_grad():
        assert torch.equal(logits[1], net(x)[0])
    assert not torch.equal(*logits)


@pytest.mark.parametrize("connect", ["ADD", None])
@pytest.mark.parametrize("name", ALL_NETS)
def test_every_state_dict_is_recognised(name: str, connect: str | None) -> None:
    with torch.device("meta"):
        make = getattr(spiking_resnet, f"spiking_{name}") if connect is None else getattr(sew_resnet, f"sew_{name}")
        net = make(spiking_neuron=neuron.IFNode, **({} if connect is None else {"cnf": connect}))
        arch = f"{'spiking' if connect is None else 'sew'}_{name}"
        recognised = recognise(net.state_dict(), None, replace(SAID, arch=arch, connect=connect, neuron="IF"))
        model = build_model(recognised.arch, recognised.config)
        named = imagenet_net(name, connect or "spiking", model_neurons.IFNode)
    assert recognised.arch == ("spiking_resnet" if connect is None else "sew_resnet")
    shapes = {key: tensor.shape for key, tensor in recognised.state.items()}
    assert shapes == {key: tensor.shape for key, tensor in model.state_dict().items()}
    assert shapes == {key: tensor.shape for key, tensor in named.state_dict().items()}
    for other in set(ALL_NETS) - {name}:
        with pytest.raises(OptionError, match=r"the file has \w+ blocks"):
            recognise(net.state_dict(), None, replace(SAID, arch=arch.replace(name, other), connect=connect))


# Neurons

NUMBERS = list(itertools.product((1.0, 0.3), (0.0, None, -0.25, 0.2), (True, False)))


@pytest.mark.parametrize("kind", ["IFNode", "LIFNode", "ParametricLIFNode"])
@pytest.mark.parametrize(("v_threshold", "v_reset", "decay_input"), NUMBERS)
def test_neurons_are_those_of_spikingjelly(
    kind: str, v_threshold: float, v_reset: float | None, decay_input: bool
) -> None:
    numbers: dict[str, Any] = {"v_threshold": v_threshold, "v_reset": v_reset}
    our_numbers, tau = dict(numbers), {"LIFNode": "tau", "ParametricLIFNode": "init_tau"}.get(kind)
    if tau is not None:
        numbers |= {tau: 1.7, "decay_input": decay_input}
        our_numbers |= {"tau": 1.7, "decay_input": decay_input}
    theirs = getattr(neuron, kind)(**numbers, surrogate_function=surrogate.ATan(), detach_reset=True)
    ours = getattr(model_neurons, kind)(**our_numbers)
    currents = 0.3 + 0.8 * torch.randn(30, 4, 50, generator=torch.Generator().manual_seed(0))
    weights = torch.randn(currents.shape, generator=torch.Generator().manual_seed(1))
    gradients = []
    for module in (theirs, ours):
        for _ in range(2):  # the second time from the start state again
            x = currents.clone().requires_grad_()
            module.zero_grad()
            module.reset()
            spikes = torch.stack([module(step) for step in x])
            (spikes * weights).sum().backward()
        assert spikes.any() and not spikes.all()
        gradients.append((spikes, x.grad, *(p.grad for p in module.parameters())))
    assert torch.equal(gradients[0][0], gradients[1][0])
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "numbers", "words"),
    [
        ("IFNode", {"v_threshold": 0.0}, "v_threshold is 0.0; it must be a number above 0"),
        ("IFNode", {"v_threshold": math.nan}, "v_threshold is nan"),
        ("LIFNode", {"v_reset": math.inf}, "v_reset is inf; it must be a number, or None"),
        ("LIFNode", {"tau": 1.0}, "tau is 1.0; it must be a number above 1"),
        ("ParametricLIFNode", {"tau": math.nan}, "tau is nan"),
    ],
)
def test_numbers_that_make_no_neuron_are_named(kind: str, numbers: dict[str, float], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        getattr(model_neurons, kind)(**numbers)
