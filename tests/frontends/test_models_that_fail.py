"""Forwards that fail: one clear error with the place in the author's file, and the model stays as it was."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import random_samples
from spikingjelly.activation_based import functional
from spikingjelly.activation_based import neuron as sj_neuron
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from snn2hw.engines.cycle import simulate
from snn2hw.errors import DataError, ModelError, Snn2hwError, UnsupportedError
from snn2hw.frontends.torch.trace import trace
from snn2hw.pipeline import Options, compile_network
from snn2hw.verification.network_vs_torch import compare_network

SHAPE = (2, 6, 6)
STEPS = 3
Forward = Callable[..., Any]


class Net(nn.Module):
    """A small net; what it computes is `compute`, and each test gives it a forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.neuron = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), sj_neuron.LIFNode()
        self.fc = nn.Linear(4 * 36, 3)
        self.register_buffer("scale", torch.tensor(2.0))
        self.flag = torch.tensor(1)  # no buffer

    def compute(self, x: Tensor) -> Tensor:
        return self.fc(self.neuron(self.norm(self.conv(x) * self.scale)).flatten(1))


def net_with(forward: Forward) -> Any:
    """A net with a forward, as its author has it in the middle of training: run, with gradients, hooks and states."""
    torch.manual_seed(0)
    net = Net()
    net.compute(torch.rand(2, *SHAPE)).sum().backward()
    net.conv.weight.requires_grad_(False)
    net.norm.register_forward_hook(lambda module, given, returned: None)
    net.fc.forward = net.fc.forward  # an attribute that hides the method, as libraries put there
    net.fc.eval()
    net.__class__ = type("Net", (Net,), {"forward": forward})
    return net


def snapshot(model: nn.Module) -> dict[str, Any]:
    """All that a model holds: what its attributes are, and the values of its tensors."""
    held: dict[str, Any] = {}
    for path, part in model.named_modules():
        for name, value in vars(part).items():
            held[f"{path}:{name}"] = dict(value) if isinstance(value, dict) else value
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers()), "neuron.v": model.neuron.v}
    tensors |= {f"{name}.grad": p.grad for name, p in model.named_parameters() if p.grad is not None}
    return held | {f"value of {name}": tensor.detach().clone() for name, tensor in tensors.items()}


def assert_as_it_was(model: nn.Module, before: dict[str, Any]) -> None:
    after = snapshot(model)
    assert after.keys() == before.keys()
    for name, value in after.items():
        if name.startswith("value of"):
            assert torch.equal(value, before[name]), name
        elif isinstance(value, dict):
            assert value.keys() == before[name].keys(), name
            assert all(item is before[name][key] for key, item in value.items()), name
        else:
            assert value is before[name] or value == before[name], name


def assert_torch_is_as_it_was() -> None:
    assert torch.is_grad_enabled() and torch.get_default_dtype() is torch.float32
    assert _get_current_dispatch_mode() is None
    assert logging.root.manager.disable == 0
    assert not torch.compiler.is_exporting()


def raising(error: BaseException) -> Forward:
    def forward(self: Any, x: Tensor) -> Tensor:
        self.compute(x)
        raise error

    return forward


class OwnError(Exception):
    pass


FAILING = (
    KeyError("layer"), OwnError("out of order"), OwnError(), ZeroDivisionError("division by zero"), TypeError("a type"),
    NotImplementedError(), StopIteration("no more"), OSError("no such file"), AttributeError("no attribute"),
    NameError("no name"), ImportError("no module"), RecursionError("too deep"), MemoryError(), SystemExit(3),
    Exception("one line\nand another"),
)  # fmt: skip
PERHAPS_ITS_SHAPE = (RuntimeError("4 and 5"), ValueError("not so"), IndexError("out of range"), AssertionError())


def refused(forward: Forward, kind: type[Snn2hwError], message: str) -> str:
    """The message of the error of a net with this forward; the net stays as it was."""
    net = net_with(forward)
    before = snapshot(net)
    with pytest.raises(kind, match=message) as caught:
        trace(net, SHAPE)
    assert_as_it_was(net, before)
    assert_torch_is_as_it_was()
    assert "Traceback" not in str(caught.value) and "fake" not in str(caught.value).lower()
    return str(caught.value)


def place(forward: Forward, further: int) -> str:
    """The place in this file so many lines behind the `def` of a forward."""
    return rf"{Path(__file__).name}:{forward.__code__.co_firstlineno + further}\b"


@pytest.mark.parametrize("error", FAILING, ids=lambda error: type(error).__name__)
def test_whatever_a_forward_raises_is_told_with_its_line(error: BaseException) -> None:
    forward = raising(error)
    told = str(error).splitlines()[:1]
    what = f"{type(error).__name__}: {told[0]}" if told else type(error).__name__
    refused(
        forward, ModelError, rf"^Net: its forward fails \(.*{place(forward, 2)}\) \({what}\)\. Build it so that .*$"
    )


@pytest.mark.parametrize("error", PERHAPS_ITS_SHAPE, ids=lambda error: type(error).__name__)
def test_what_may_come_of_the_input_shape_says_so(error: BaseException) -> None:
    forward = raising(error)
    told = str(error) or type(error).__name__
    message = rf"^the model does not accept an input of shape \[2, 6, 6\] \(.*{place(forward, 2)}\): {told}\. Give .*$"
    refused(forward, DataError, message)


def mask(self: Any, x: Tensor, *, mask: Tensor) -> Tensor:
    return self.compute(x * mask)


def second(self: Any, x: Tensor, labels: Tensor) -> Tensor:
    return self.compute(x)


def by_name_alone(self: Any, **inputs: Tensor) -> Tensor:
    return self.compute(inputs["x"])


def none_at_all(self: Any) -> Tensor:
    return self.compute(torch.zeros(1, *SHAPE))


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (mask, "^mask: the model's forward takes 2 inputs: x, mask .*Give all but the first a default value"),
        (second, "^labels: the model's forward takes 2 inputs: x, labels .*Give all but the first a default value"),
        (by_name_alone, "^input: the model's forward takes no input by its position .*as its first argument"),
        (none_at_all, "^input: the model's forward takes no input by its position .*as its first argument"),
    ],
    ids=["keyword alone", "two inputs", "all by keyword", "no input"],
)
def test_a_forward_that_is_called_otherwise_is_told_with_its_line(forward: Forward, message: str) -> None:
    told = refused(forward, UnsupportedError, message)
    assert f"{Path(__file__).name}:{forward.__code__.co_firstlineno})" in told


def nothing(self: Any, x: Tensor) -> None:
    self.compute(x)


def number(self: Any, x: Tensor) -> float:
    self.compute(x)
    return 3.0


def text(self: Any, x: Tensor) -> str:
    return str(self.compute(x).shape)


def empty(self: Any, x: Tensor) -> dict[str, Tensor]:
    return {}


def with_number(self: Any, x: Tensor) -> tuple[Tensor, int]:
    return self.compute(x), len(x)


@pytest.mark.parametrize("forward", [nothing, number, text, empty, with_number], ids=lambda forward: forward.__name__)
def test_what_returns_no_logits_is_told_with_its_line(forward: Forward) -> None:
    told = refused(forward, UnsupportedError, r"^output: .*no.* tensor .*\. Return the logits of the step$")
    assert f"{Path(__file__).name}:{forward.__code__.co_firstlineno})" in told


def a_number_of_the_data(self: Any, x: Tensor) -> float:
    return float(self.compute(x).sum())


def branch(self: Any, x: Tensor) -> Tensor:
    if self.conv(x).mean() > 0:
        return self.compute(x)
    return self.compute(-x)


def to_numpy(self: Any, x: Tensor) -> Tensor:
    return torch.from_numpy(self.compute(x).numpy())


def to_cuda(self: Any, x: Tensor) -> Tensor:
    x = x.cuda()
    return self.compute(x)


def made_on_cuda(self: Any, x: Tensor) -> Tensor:
    return self.compute(x + torch.ones(1, device="cuda"))


def half(self: Any, x: Tensor) -> Tensor:
    return self.compute(x.half())


@pytest.mark.parametrize(
    ("forward", "line", "message"),
    [
        (branch, 1, "decides by the values of the data .*Let it decide by sizes alone"),
        (to_numpy, 1, "leaves torch for numpy .*Compute with torch"),
        (to_cuda, 1, "asks for another device than the CPU.*Move the whole model"),
        (made_on_cuda, 1, "asks for another device than the CPU.*Move the whole model"),
        (
            half,
            Net.compute.__code__.co_firstlineno + 1 - half.__code__.co_firstlineno,
            "mixes types of numbers .*Let it compute in the type of its input",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_followed_is_told_with_its_line(forward: Forward, line: int, message: str) -> None:
    told = refused(forward, ModelError, f"^Net: its forward {message}")
    if forward is not to_cuda or not torch.cuda.is_available():  # else the first layer complains
        assert f"{Path(__file__).name}:{forward.__code__.co_firstlineno + line})" in told


def clamp_weights(self: Any, x: Tensor) -> Tensor:
    self.conv.weight.data.clamp_(-0.1, 0.1)
    return self.compute(x)


def test_parameters_that_a_forward_changes_stay_as_they_were() -> None:
    refused(clamp_weights, ModelError, "^Net: its forward changes its parameters.*Change parameters before the export")


# What may be changed


def its_input(self: Any, x: Tensor) -> Tensor:
    x.add_(x)
    return self.compute(x)


def a_tensor(self: Any, x: Tensor) -> Tensor:
    self.last = self.norm(self.conv(x) * self.scale)
    return self.fc(self.neuron(self.last).flatten(1))


def a_list(self: Any, x: Tensor) -> Tensor:
    self.shapes = [*getattr(self, "shapes", []), x.shape]
    return self.compute(x)


def a_count(self: Any, x: Tensor) -> Tensor:
    self.calls = getattr(self, "calls", 0) + 1
    return self.compute(x)


def a_constant_in_a_branch(self: Any, x: Tensor) -> Tensor:
    return self.compute(x + x if self.flag + 1 > 1 else x)


def its_mode(self: Any, x: Tensor) -> Tensor:
    self.eval()
    return self.compute(x)


def prints(self: Any, x: Tensor) -> Tensor:
    print("forward", x.shape, file=sys.stderr)
    return self.compute(x)


@pytest.mark.parametrize(
    "forward",
    [its_input, a_tensor, a_list, a_count, a_constant_in_a_branch, its_mode, prints],
    ids=lambda forward: forward.__name__,
)
def test_what_a_forward_changes_besides_deploys_exactly_and_stays_with_the_copy(forward: Forward) -> None:
    net = net_with(forward)
    before = snapshot(net)
    samples = random_samples(3, steps=STEPS, shape=SHAPE)
    traced = trace(net, SHAPE)
    x = torch.from_numpy(samples.steps(STEPS)).double()
    given = x.clone()
    comparison = compare_network(traced.network, traced.user_model, x)
    assert (comparison.mismatches, comparison.ties, comparison.note) == (0, 0, "")
    assert torch.equal(x, given)
    program = compile_network(traced.network, samples, Options(timesteps=STEPS))
    assert simulate(program, samples)["neuron"].any()
    assert_as_it_was(net, before)


def new_layer(self: Any, x: Tensor) -> Tensor:
    self.conv = nn.Conv2d(2, 4, 3, padding=1)
    return self.compute(x)


def resets(self: Any, x: Tensor) -> Tensor:
    functional.reset_net(self)
    return self.compute(x)


@pytest.mark.parametrize("forward", [new_layer, resets], ids=lambda forward: forward.__name__)
def test_what_a_graph_of_one_step_does_not_show_is_found_by_comparing_with_the_module(forward: Forward) -> None:
    net = net_with(forward)
    before = snapshot(net)
    try:
        traced = trace(net, SHAPE)
    except ModelError:
        pass
    else:
        x = torch.rand(STEPS, 4, *SHAPE, dtype=torch.float64) * 3
        assert compare_network(traced.network, traced.user_model, x).mismatches
    assert_as_it_was(net, before)


# Interrupted


@pytest.mark.parametrize("calls", [1, 2])
@pytest.mark.parametrize("where", ["forward", "hook", "neuron"])
def test_an_interrupted_capture_leaves_the_model_as_it_was(where: str, calls: int) -> None:
    count = 0

    def interrupt(*_: object) -> None:
        nonlocal count
        count += 1
        if count == calls:
            raise KeyboardInterrupt

    def forward(self: Any, x: Tensor) -> Tensor:
        logits = self.compute(x)
        if where == "forward":
            interrupt()
        return self.compute(x) + logits

    net = net_with(forward)
    if where != "forward":
        (net.conv if where == "hook" else net.neuron).register_forward_pre_hook(interrupt)
    before, streams = snapshot(net), (sys.stdout, sys.stderr)
    with pytest.raises(KeyboardInterrupt):
        trace(net, SHAPE)
    assert_as_it_was(net, before)
    assert_torch_is_as_it_was()
    assert (sys.stdout, sys.stderr) == streams
    assert trace(net_with(Net.compute), SHAPE).neurons == ("neuron",)
