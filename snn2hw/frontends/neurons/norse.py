"""norse: LIFBoxCell, IAFCell and IAF.

They fire at v > v_th, and take and return their state. In a traced model a Cell keeps the state for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snn2hw.data.aliases import Shape
from snn2hw.deployment import Convention
from snn2hw.frontends.neurons.nir_neuron import write_neuron
from snn2hw.frontends.neurons.parameters import number_or_range, numbers, spread
from snn2hw.frontends.neurons.reader import NeuronProblem, Reader, Suspect, Wrapper, package_of, spikes_of
from snn2hw.ir.fixed_point import Reset
from snn2hw.network.neuron_rule import Neuron

LAYERS = "norse.torch.module"  # modules whose names begin so define the layers
_USE = "Use norse's LIFBoxCell or IAFCell"
_TIMED = (
    "it takes all time steps at once",
    "Write one time step: the wrapped layer itself, and cells (LIFBoxCell, IAFCell) in a SequentialState",
)
_REASONS = {
    "LIFCell": ("its input reaches the membrane one step later than in NIR's CubaLIF", _USE),
    "LIF": ("its input reaches the membrane one step later than in NIR's CubaLIF", _USE),
    "LICell": ("it never fires", "End with the layer itself: the read-out adds its outputs up"),
    "LI": ("it never fires", "End with the layer itself: the read-out adds its outputs up"),
    "LIBoxCell": ("it never fires", "End with the layer itself: the read-out adds its outputs up"),
    "Lift": _TIMED,
    "LConv2d": _TIMED,
}


class Cell(Wrapper):
    """A neuron of norse that holds its state: one step [N, ...] a call, whether norse gives it a time axis or not.

    Returns (spikes, None): what the caller takes for the state and hands back is ignored.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.state: Any = None

    @property
    def v_threshold(self) -> Any:
        """norse's v_th."""
        neuron: Any = self.inner
        return neuron.p.v_th

    @v_threshold.setter
    def v_threshold(self, value: float) -> None:
        neuron: Any = self.inner
        neuron.p = neuron.p._replace(v_th=torch.tensor(value, dtype=torch.float64))

    def reset_state(self) -> None:
        """Back to norse's initial state."""
        self.state = None

    def forward(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        """The spikes of one step."""
        neuron: Any = self.inner
        before = neuron.state_fallback(x) if self.state is None else self.state
        spikes, self.state = neuron.activation(x, before, neuron.p, neuron.dt)
        return spikes, None


def _lif_box(module: Any, shape: Shape, dtype: type[np.floating]) -> Neuron:
    """v = v + dt tau_mem_inv (v_leak - v + x); reset_value to v_reset or reset_subtract of v_th; v starts at v_leak."""
    p = module.p
    share = spread("tau_mem_inv", module.dt * numbers(p.tau_mem_inv), shape)
    leak, floor = spread("v_leak", p.v_leak, shape), spread("v_reset", p.v_reset, shape)
    method = p.reset_method.__name__
    if method not in ("reset_value", "reset_subtract"):
        raise NeuronProblem(f"LIFBoxCell with the reset method {method}", "Use reset_value or reset_subtract")
    if method == "reset_value" and not np.all(leak == floor):
        raise NeuronProblem(
            f"LIFBoxCell starts at v_leak = {number_or_range(leak)} and resets to v_reset = {number_or_range(floor)}; "
            "a NIR neuron starts where it resets to",
            "Give v_leak and v_reset the same value",
        )
    threshold = spread("v_th", p.v_th, shape)
    return write_neuron(
        shape,
        dtype,
        keep=1 - share,
        gain=share,
        threshold=threshold,
        reset=Reset.ZERO if method == "reset_value" else Reset.SUBTRACT,
        amount=threshold,
        rest=leak,
    )


def _iaf(module: Any, shape: Shape, dtype: type[np.floating]) -> Neuron:
    """v = v + x; resets to v_reset, where it starts."""
    threshold = spread("v_th", module.p.v_th, shape)
    return write_neuron(
        shape,
        dtype,
        keep=np.ones(()),
        gain=np.ones(()),
        threshold=threshold,
        reset=Reset.ZERO,
        amount=threshold,
        rest=spread("v_reset", module.p.v_reset, shape),
    )


def _convention(module: Any) -> Convention:
    p = module.p
    soft = getattr(getattr(p, "reset_method", None), "__name__", "") == "reset_subtract"
    start = number_or_range(getattr(p, "v_leak", p.v_reset))
    reset = "by subtraction" if soft else f"to {number_or_range(numbers(p.v_reset))}"
    return Convention(framework="norse", fires="v > threshold", reset=reset, start=start)


def _run(module: Any, x: Tensor) -> Tensor:
    if not any(base.__name__ == "SNNCell" for base in type(module).__mro__):  # it takes all steps at once
        return spikes_of(module(x))
    state, spikes = None, []
    for frame in x:
        returned = module(frame, state)
        spikes.append(spikes_of(returned))
        state = returned[1]
    return torch.stack(spikes)


def _suspects(module: Any) -> list[Suspect]:
    functions = {"activation": module.activation}
    if hasattr(module.p, "reset_method"):
        functions["p.reset_method"] = module.p.reset_method
    return [
        Suspect(what=f"its {name} is not norse's", advice=f"Use a function of norse as {name}")
        for name, function in functions.items()
        if package_of(function) != "norse"
    ]


def refuse(kind: type) -> NeuronProblem | None:
    """Why a class of LAYERS that has no reader cannot be deployed; None for one that is no neuron."""
    if kind.__name__ == "SequentialState":
        return None
    if "Recurrent" in kind.__name__:
        reason, advice = "it feeds its spikes back to its input", _USE
    else:
        reason, advice = _REASONS.get(kind.__name__, ("no NIR neuron computes the same", _USE))
    return NeuronProblem(f"norse's {kind.__name__} is not supported: {reason}", advice)


def _always(module: Any) -> bool:
    return True


READERS = {
    name: Reader(
        to_nir=to_nir,
        convention=_convention,
        returns_state=_always,
        wrap=Cell,
        keeping_state="Call it without a state, which snn2hw then keeps, or put it into a SequentialState",
        run=_run,
        suspects=_suspects,
    )
    for name, to_nir in {"LIFBoxCell": _lif_box, "IAFCell": _iaf, "IAF": _iaf}.items()
}
