"""Every neuron of snnTorch, norse and sinabs that is supported, with its options, and small nets of them.

norse and sinabs are installed by tests/requirements-frameworks.txt.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import snntorch
import torch
from torch import Tensor, nn

with warnings.catch_warnings():  # both warn of torch.jit as they are imported
    warnings.simplefilter("ignore")
    import norse.torch as norse
    import sinabs.activation
    import sinabs.layers
    from norse.torch.functional.reset import reset_subtract

STEPS, BATCH, SIZE = 12, 3, 6
Factory = Callable[..., Any]


def snn(kind: str, **options: Any) -> Factory:
    return lambda **more: getattr(snntorch, kind)(init_hidden=True, **options | more)


def cell(kind: str, parameters: str, dt: float = 0.001, **values: Any) -> Factory:
    tensors = {name: torch.as_tensor(v) if isinstance(v, float) else v for name, v in values.items()}
    return lambda: getattr(norse, kind)(getattr(norse, parameters)(**tensors), dt=dt)


def layer(kind: str, reset: Any = sinabs.activation.MembraneSubtract, **options: Any) -> Factory:
    options = {"spike_fn": sinabs.activation.SingleSpike, "reset_fn": reset()} | options
    more = {"batch_size": BATCH} if "Squeeze" in kind else {}
    return lambda: getattr(sinabs.layers, kind)(**options, **more)


def column(*values: float) -> Tensor:
    """One value for each of SIZE neurons, of few."""
    return torch.tensor(values).repeat(SIZE // len(values))


zero = sinabs.activation.MembraneReset
SNNTORCH = {
    **{f"leaky-{reset}": snn("Leaky", beta=0.8, reset_mechanism=reset) for reset in ("zero", "subtract", "none")},
    "leaky-zero-at-once": snn("Leaky", beta=0.8, reset_mechanism="zero", reset_delay=False),
    "leaky-whole": snn("Leaky", beta=1.0),
    "leaky-learned": snn("Leaky", beta=0.9, learn_beta=True, threshold=0.7, learn_threshold=True),
    "leaky-each": snn("Leaky", beta=column(0.5, 0.9, 0.7), threshold=column(0.4, 1.0)),
    "leaky-each-learned": snn("Leaky", beta=column(0.5, 0.9), threshold=column(0.4, 1.0), learn_beta=True),
    "synaptic-subtract": snn("Synaptic", alpha=0.6, beta=0.8),
    "synaptic-none": snn("Synaptic", alpha=0.4, beta=0.5, reset_mechanism="none", threshold=1.5),
    "synaptic-zero": snn("Synaptic", alpha=0.6, beta=0.8, reset_mechanism="zero", reset_delay=False),
    "synaptic-whole": snn("Synaptic", alpha=0.5, beta=1.0),
    "synaptic-each": snn("Synaptic", alpha=column(0.2, 0.7), beta=column(0.5, 0.8, 0.9), threshold=column(0.8, 1.2)),
    "synaptic-learned": snn("Synaptic", alpha=0.3, beta=0.9, learn_alpha=True, learn_beta=True),
    "synaptic-without-memory": snn("Synaptic", alpha=0.0, beta=0.9),
    "lapicque-beta": snn("Lapicque", beta=0.8, threshold=0.2),
    "lapicque-rc": snn("Lapicque", R=2.0, C=1.5, reset_mechanism="none"),
    "lapicque-rc-step": snn("Lapicque", R=5, C=0.5, time_step=0.5, threshold=0.7),
    "lapicque-beta-r": snn("Lapicque", beta=0.7, R=3.0),
}
NORSE = {
    "lifbox": cell("LIFBoxCell", "LIFBoxParameters", v_th=0.2),
    "lifbox-subtract": cell("LIFBoxCell", "LIFBoxParameters", 0.002, v_th=0.2, reset_method=reset_subtract),
    "lifbox-rest": cell("LIFBoxCell", "LIFBoxParameters", v_th=0.3, v_leak=0.1, v_reset=0.1, tau_mem_inv=300.0),
    "lifbox-rest-subtract": cell("LIFBoxCell", "LIFBoxParameters", v_th=0.1, v_leak=-0.1, reset_method=reset_subtract),
    "lifbox-each": cell("LIFBoxCell", "LIFBoxParameters", tau_mem_inv=column(100.0, 200.0), v_th=column(0.1, 0.2, 0.3)),
    "iafcell": cell("IAFCell", "IAFParameters"),
    "iafcell-reset": cell("IAFCell", "IAFParameters", v_th=0.8, v_reset=-0.2),
    "iaf": cell("IAF", "IAFParameters", v_th=0.8),
}
SINABS = {
    "iaf": layer("IAF"),
    "iaf-zero": layer("IAF", zero, spike_threshold=torch.tensor(0.7)),
    "iaf-value": layer("IAF", lambda: sinabs.activation.MembraneSubtract(0.6)),
    "iaf-syn": layer("IAF", tau_syn=1.5),
    "iafsqueeze": layer("IAFSqueeze"),
    "iafsqueeze-zero": layer("IAFSqueeze", zero),
    "iafsqueeze-low": layer("IAFSqueeze", spike_threshold=torch.tensor(0.2)),
    "lif": layer("LIF", tau_mem=5.0, spike_threshold=torch.tensor(0.3)),
    "lif-zero": layer("LIF", zero, tau_mem=5.0, norm_input=False),
    "lif-alphas": layer("LIF", tau_mem=3.0, tau_syn=2.0, train_alphas=True, spike_threshold=torch.tensor(0.3)),
    "lif-syn": layer("LIF", tau_mem=5.0, tau_syn=2.0, norm_input=False, record_states=True),
    "lif-each": layer("LIF", tau_mem=column(3.0, 9.0), spike_threshold=column(0.2, 0.3, 0.4)),
    "lifsqueeze": layer("LIFSqueeze", tau_mem=5.0, norm_input=False),
    "lifsqueeze-syn-zero": layer("LIFSqueeze", zero, tau_mem=9.0, tau_syn=2.0, spike_threshold=torch.tensor(0.3)),
}
SINGLE = {
    f"{framework}-{name}": (framework, factory)
    for framework, factories in {"snntorch": SNNTORCH, "norse": NORSE, "sinabs": SINABS}.items()
    for name, factory in factories.items()
}


def linear(inputs: int, outputs: int) -> nn.Linear:
    fc = nn.Linear(inputs, outputs)
    nn.init.uniform_(fc.weight, -0.3, 0.7)
    return fc


def chain(framework: str, factory: Factory, *, last: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(0)
    container = norse.SequentialState if framework == "norse" else nn.Sequential
    ends = [last] if last else [linear(SIZE, 3)]
    return container(linear(4, SIZE), factory(), linear(SIZE, SIZE), factory(), *ends)


class Written(nn.Module):
    """A net with the forward `wire(self, x)`, or with a second argument that has a default."""

    def __init__(self, wire: Callable[..., Any], factory: Factory, **more: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.wire = wire
        self.fc1, self.lif1, self.fc2, self.lif2 = linear(4, SIZE), factory(), linear(SIZE, SIZE), factory(**more)

    def forward(self, x: Tensor, state: Any = None) -> Any:
        return self.wire(self, x, state)
