"""Each neuron object does what its NIR node says: what was put into it, overridden or set later is tried out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import nir
import numpy as np
import pytest
import snntorch
import torch
from framework_nets import SINGLE, SIZE, cell, layer, norse, sinabs, snn
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import MULTI_STEP, NEURONS, SPIKINGJELLY, leaky
from norse.torch.functional.reset import reset_value
from spikingjelly.activation_based import neuron as sj_neuron
from spikingjelly.activation_based import surrogate
from torch import Tensor, nn

from snn2hw.errors import Blocker, UnsupportedError
from snn2hw.frontends.neurons import NeuronProblem, against_rule, is_spiking_neuron, to_nir
from snn2hw.frontends.neurons.against_rule import check_against_rule, check_neurons_against_rules
from snn2hw.frontends.neurons.sinabs import Step
from snn2hw.frontends.torch.trace import trace
from snn2hw.ir.fixed_point import Reset
from snn2hw.models import neurons as model_neurons
from snn2hw.network.neuron_rule import Neuron, rule_of

SHAPE = (3, 4, 5)
Factory = Callable[[], Any]


def blocker(neuron: Any, shape: tuple[int, ...] = SHAPE, node: Neuron | None = None) -> Blocker | None:
    return check_against_rule("block.lif", neuron, node or to_nir(neuron, shape, torch.float32))


def refusal(neuron: Any, shape: tuple[int, ...] = SHAPE, node: Neuron | None = None) -> str:
    refused = blocker(neuron, shape, node)
    assert refused is not None
    assert refused.layer == "block.lif"
    return str(refused)


OWN_NEURONS: dict[str, Factory] = {
    "IFNode": lambda: model_neurons.IFNode(v_threshold=1 / 3),
    "IFNode that subtracts": lambda: model_neurons.IFNode(v_reset=None),
    "LIFNode": lambda: model_neurons.LIFNode(tau=3.0, v_reset=-0.5),
    "ParametricLIFNode": lambda: model_neurons.ParametricLIFNode(tau=2.0, decay_input=False),
    "leaky": lambda: model_neurons.leaky(beta=0.5),
}


@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
@pytest.mark.parametrize("name", SINGLE)
def test_every_neuron_of_the_frameworks_does_what_its_node_says(name: str, double: bool) -> None:
    neuron = SINGLE[name][1]()
    assert blocker(neuron.double() if double else neuron, (SIZE,)) is None


@pytest.mark.parametrize(("name", "multi"), MULTI_STEP)
def test_so_does_every_neuron_in_single_and_in_multi_step(name: str, multi: bool) -> None:
    neuron = NEURONS[name]()
    if multi:
        neuron.step_mode = "m"
    assert blocker(neuron) is None


@pytest.mark.parametrize("name", OWN_NEURONS)
def test_so_do_the_neurons_of_the_models_that_are_built_here(name: str) -> None:
    assert blocker(OWN_NEURONS[name]()) is None


@settings(max_examples=40, deadline=None)
@given(
    threshold=st.sampled_from([1 / 3, 2 / 3, 1 / 7, 0.1, 0.7]) | st.floats(1e-3, 1e3),
    kind=st.sampled_from(["IFNode", "LIFNode", "IAF"]),
)
def test_a_threshold_of_any_digits_is_met_at_itself(threshold: float, kind: str) -> None:
    """Decimals such as 1/3 are no multiple of a power of two: a neuron that fires at v >= 1/3 fires at 1/3 still."""
    if kind == "IAF":
        neuron = layer("IAF", spike_threshold=torch.tensor(threshold, dtype=torch.float64))()
    else:
        neuron = getattr(sj_neuron, kind)(v_threshold=threshold)
    node = to_nir(neuron, SHAPE, torch.float32)
    assert blocker(neuron, node=node) is None
    assert "exactly on the threshold" in refusal(neuron, node=above_only(node))


def above_only(node: Neuron) -> Neuron:
    """The node of neurons that fire above the threshold alone, instead of from it upwards."""
    rule = rule_of("", node)
    changed = {key: value for key, value in node.metadata.items() if key != "fires"}
    return changed_node(node, v_threshold=np.broadcast_to(rule.threshold, np.shape(node.v_threshold)), metadata=changed)


def changed_node(node: Any, **values: Any) -> Any:
    return type(node)(**{name: getattr(node, name) for name in node.__dataclass_fields__ if name in _FIELDS} | values)


_FIELDS = ("r", "tau", "tau_mem", "tau_syn", "w_in", "v_leak", "v_threshold", "v_reset", "metadata")
MISREAD: dict[str, tuple[Factory, Callable[[Any], Any]]] = {
    "threshold": (SPIKINGJELLY["if"], lambda node: changed_node(node, v_threshold=node.v_threshold * (1 + 1e-5))),
    "decay": (leaky(0.9, "zero"), lambda node: changed_node(node, tau=node.tau * (1 + 1e-4))),
    "decay of the current": (
        snn("Synaptic", alpha=0.6, beta=0.8),
        lambda node: changed_node(node, tau_syn=node.tau_syn * (1 + 1e-4)),
    ),
    "gain": (SPIKINGJELLY["lif"], lambda node: changed_node(node, r=node.r * (1 + 1e-5))),
    "rest": (SPIKINGJELLY["lif-reset"], lambda node: changed_node(node, v_leak=node.v_leak + 1e-4)),
    "reset value": (SPIKINGJELLY["if-reset"], lambda node: changed_node(node, v_reset=node.v_reset + 1e-4)),
    "kind of reset": (
        SPIKINGJELLY["if"],
        lambda node: changed_node(node, metadata=node.metadata | {"reset": "subtract"}),
    ),
    "time of reset": (
        leaky(0.9, "subtract"),
        lambda node: changed_node(node, metadata=node.metadata | {"reset": Reset.SUBTRACT.value}),
    ),
    "firing above the threshold": (SPIKINGJELLY["lif-whole-input"], above_only),
    "firing at the threshold": (
        leaky(1.0, "zero"),
        lambda node: changed_node(
            node, v_threshold=np.nextafter(node.v_threshold, np.float32(0)), metadata={"fires": ">="}
        ),
    ),
}


@pytest.mark.parametrize("name", MISREAD)
def test_a_rule_that_was_read_wrongly_is_noticed(name: str) -> None:
    factory, misread = MISREAD[name]
    neuron = factory()
    node = to_nir(neuron, SHAPE, torch.float32)
    assert blocker(neuron, node=changed_node(node)) is None
    message = refusal(neuron, node=misread(node))
    assert "brings the membrane of its rule to" in message
    assert message.endswith("Build it by its constructor alone; if it is built so, report this with the model")


def changed(factory: Factory, change: Callable[[Any], Any]) -> Factory:
    def make() -> Any:
        neuron = factory()
        change(neuron)
        return neuron

    return make


def negate(module: nn.Module, inputs: Any, spikes: Any) -> Any:
    return 1 - spikes


def draw(module: nn.Module, inputs: Any, returned: Any) -> Any:
    """One in two of the spikes, by chance."""
    spikes, *states = returned if isinstance(returned, tuple) else (returned,)
    spikes = spikes * (torch.rand_like(spikes) > 0.5)
    return (spikes, *states) if states else spikes


def halve(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    return (inputs[0] / 2,)


def halve_in_place(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    inputs[0].mul_(0.5)


def late_corner(module: nn.Module, inputs: Any, spikes: Tensor) -> Tensor:
    return torch.cat([spikes[..., :-1], 0 * spikes[..., -1:]], -1)


def turn_at_17(module: Any, inputs: Any, spikes: Tensor) -> Tensor | None:
    """Changes the spikes from the 17th call on, whatever is reset in between."""
    module.calls = getattr(module, "calls", 0) + 1
    return None if module.calls < 17 else 1 - spikes


def around(neuron: Any) -> None:
    forward = neuron.forward  # bound to the object itself, as a wrapper around it usually is
    neuron.forward = lambda x: forward(x) * (x < 5)


def clip(self: Any, x: Tensor, *rest: Any) -> Any:
    return super(type(self), self).forward(x.clamp(-1, 1), *rest)


def derived(factory: Factory, **methods: Any) -> Factory:
    """The same neuron as an object of a subclass with these methods."""

    def make() -> Any:
        neuron = factory()
        neuron.__class__ = type("Mine", (type(neuron),), methods)
        return neuron

    return make


class Shifted(surrogate.Sigmoid):
    @staticmethod
    def spiking_function(x: Tensor, **options: Any) -> Tensor:
        return (x >= 0.1).to(x)


class Levels(nn.Module):
    spiking = True

    def forward(self, x: Tensor) -> Tensor:
        return (x >= 0).to(x) + (x >= 1).to(x)


def silent_step(self: Any, inputs: Any, states: Any, **options: Any) -> Any:
    (spikes,), states = super(type(self), self).single_step_functional_forward(inputs, states, **options)
    return (spikes * 0,), states


def shifted(x: Tensor) -> Tensor:
    return (x > 0.1).float()


def levels(x: Tensor) -> Tensor:
    return (x > 0).float() + (x > 1).float()


class SingleSpike(sinabs.activation.SingleSpike):
    @staticmethod
    def forward(ctx: Any, v: Tensor, threshold: Tensor, gradient: Any) -> Tensor:
        return (v > threshold).float()


def reset_value_late(z: Tensor, v: Tensor, reset: Tensor, th: Tensor) -> Tensor:
    return reset_value(z, v, reset + 0.01, th)


reset_value_late.__name__ = "reset_value"
IF, LIF, LEAKY = SPIKINGJELLY["if"], SPIKINGJELLY["lif"], leaky(0.9, "subtract")
IAFCELL, IAF = cell("IAFCell", "IAFParameters"), layer("IAF")
MULTI = changed(LIF, lambda neuron: setattr(neuron, "step_mode", "m"))
DEFECTS: dict[str, tuple[Factory, str]] = {
    "a hook": (
        changed(IF, lambda n: n.register_forward_hook(negate)),
        "it has a forward hook, negate. Remove the hook",
    ),
    "a hook in multi step": (changed(MULTI, lambda n: n.register_forward_hook(negate)), "a forward hook, negate"),
    "a hook on a cell": (
        changed(IAFCELL, lambda n: n.register_forward_hook(lambda m, x, y: (1 - y[0], y[1]))),
        "it has a forward hook, <lambda>",
    ),
    "a hook on sinabs": (
        changed(layer("IAFSqueeze"), lambda n: n.register_forward_hook(negate)),
        "forward hook, negate",
    ),
    "a pre-hook": (changed(LEAKY, lambda n: n.register_forward_pre_hook(halve)), "it has a forward pre-hook, halve"),
    "a pre-hook in place": (
        changed(LEAKY, lambda n: n.register_forward_pre_hook(halve_in_place)),
        "brings the membrane of its rule to .*a forward pre-hook, halve_in_place",
    ),
    "a hook on the last neurons of a row": (changed(IF, lambda n: n.register_forward_hook(late_corner)), "late_corner"),
    "a hook that counts": (
        changed(IF, lambda n: n.register_forward_hook(turn_at_17)),
        "run again behind its reset, .*: something outlives the reset. Likely because it has a forward hook, turn_at",
    ),
    "forward on the instance": (
        changed(IF, around),
        "forward is replaced on the instance. Delete the attribute forward",
    ),
    "a method on the instance": (
        changed(LIF, lambda n: setattr(n, "single_step_forward", lambda x: (x > 1).to(x))),
        "single_step_forward is replaced on the instance",
    ),
    "forward of a subclass": (derived(LEAKY, forward=clip), "Mine overrides forward. Use Leaky itself, or override"),
    "forward of a subclass of a cell": (derived(IAFCELL, forward=clip), "Mine overrides forward. Use IAFCell itself"),
    "forward of a subclass of a squeeze": (derived(layer("IAFSqueeze"), forward=clip), "Use IAFSqueeze itself"),
    "single_step_forward of a subclass": (
        derived(IF, single_step_forward=lambda self, x: (x > 1).to(x)),
        "Mine overrides single_step_forward. Use IFNode itself",
    ),
    "the step of a subclass": (
        derived(IF, single_step_functional_forward=silent_step),
        "single_step_functional_forward",
    ),
    "fire of a subclass": (derived(LEAKY, fire=lambda self, v: (v > 2).float()), "Mine overrides fire"),
    "charge of a subclass": (derived(OWN_NEURONS["IFNode"], charge=lambda self, v, x: v - x), "Mine overrides charge"),
    "a surrogate that shifts": (
        lambda: sj_neuron.IFNode(surrogate_function=Shifted()),
        "emits 1, but the neuron itself emits 0. Likely because its surrogate_function, Shifted, is not SpikingJelly's",
    ),
    "a surrogate that adds levels": (
        lambda: sj_neuron.LIFNode(surrogate_function=Levels()),
        "but the neuron itself emits 2. Likely because its surrogate_function, Levels, is not SpikingJelly's",
    ),
    "spiking=False": (
        lambda: sj_neuron.LIFNode(surrogate_function=surrogate.ATan(spiking=False)),
        "its surrogate_function has spiking=False, so that it emits real numbers. Set surrogate_function.spiking",
    ),
    "a spike_grad that shifts": (leaky(0.9, "zero", spike_grad=shifted), "its spike_grad, shifted, is not snnTorch's"),
    "a spike_grad that adds levels": (
        snn("Synaptic", alpha=0.5, beta=0.8, spike_grad=levels),
        "its spike_grad, levels",
    ),
    "a spike_fn of the same name": (layer("IAF", spike_fn=SingleSpike), "its spike_fn is not sinabs's"),
    "a reset_method of the same name": (
        cell("LIFBoxCell", "LIFBoxParameters", reset_method=reset_value_late),
        r"its p\.reset_method is not norse's",
    ),
    "a reset_mechanism set later": (
        changed(LEAKY, lambda n: setattr(n, "reset_mechanism", "zero")),
        "its reset_mechanism is 'zero', but its state_function is _base_sub, .*. Give reset_mechanism to the const",
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_what_makes_a_neuron_another_one_is_refused_by_name(name: str) -> None:
    factory, cause = DEFECTS[name]
    assert re.search(cause, refusal(factory()))


@pytest.mark.parametrize(
    "change",
    [lambda n: n.set_reset_value("v", 0.75), lambda n: setattr(n, "v_reset", -0.5)],
    ids=["set_reset_value", "v_reset set later"],
)
def test_a_start_that_is_not_where_it_resets_to_is_refused_as_it_is_read(change: Callable[[Any], Any]) -> None:
    neuron = sj_neuron.IFNode()
    node = to_nir(neuron, SHAPE, torch.float32)
    change(neuron)
    with pytest.raises(
        NeuronProblem, match=r"its membrane starts at 0.*, but its v_reset is .*Give v_reset to the con"
    ):
        to_nir(neuron, SHAPE, torch.float32)
    assert "in step" in refusal(neuron, node=node)


SEEN: list[float] = []
HARMLESS: dict[str, Factory] = {
    "a hook that looks": changed(IF, lambda n: n.register_forward_hook(lambda m, x, y: SEEN.append(float(y.sum())))),
    "a pre-hook that looks": changed(LEAKY, lambda n: n.register_forward_pre_hook(lambda m, x: None)),
    "pre-hooks that cancel each other": changed(
        changed(LEAKY, lambda n: n.register_forward_pre_hook(halve_in_place)),
        lambda n: n.register_forward_pre_hook(lambda m, x: (2 * x[0],)),
    ),
    "a hook of the training alone": changed(
        IF, lambda n: n.register_forward_hook(lambda m, x, y: 1 - y if m.training else None)
    ),
    "a hook on a cell": changed(IAFCELL, lambda n: n.register_forward_hook(lambda m, x, y: None)),
    "a subclass of the same name": derived(LEAKY, __doc__="Mine."),
    "a subclass with more to print": derived(LIF, extra_repr=lambda self: "mine"),
    "a subclass that calls its base": derived(IF, forward=lambda self, x: super(type(self), self).forward(x + 0)),
    "a subclass of a squeeze": derived(layer("IAFSqueeze")),
    "methods that SpikingJelly 2 does not call": derived(LIF, neuronal_fire=lambda self: 0, neuronal_charge=None),
    "another surrogate": lambda: snntorch.Leaky(beta=0.9, init_hidden=True, spike_grad=lambda x: (x > 0).float()),
    "forward on the instance": changed(IF, lambda n: setattr(n, "forward", n.forward)),
    "a neuron that was trained": changed(LIF, lambda n: n(torch.rand(2, *SHAPE, requires_grad=True)).sum().backward()),
    "factors whose product rounds": snn("Lapicque", R=5, C=0.5, threshold=torch.tensor(0.7, dtype=torch.float64)),
    "one threshold a channel": changed(IF, lambda n: setattr(n, "v_threshold", torch.rand(3, 1, 1) + 0.1)),
    "one threshold a neuron, all alike": leaky(0.9, "zero", threshold=torch.full(SHAPE, 0.3)),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_does_not_change_its_spikes_is_let_be(name: str) -> None:
    assert blocker(HARMLESS[name]()) is None


def only_float32(x: Tensor) -> Tensor:
    return (x.movedim(-1, 0).flatten(1).T @ torch.eye(5)).reshape(x.shape)


@pytest.mark.parametrize(("factor", "refused"), [(1.0, False), (1.001, True)])
def test_a_neuron_that_runs_in_float32_alone_is_tried_in_it(factor: float, refused: bool) -> None:
    neuron = sj_neuron.LIFNode(tau=3.0)
    neuron.register_forward_pre_hook(lambda m, x: (factor * only_float32(x[0]),))
    assert (blocker(neuron) is not None) is refused


def test_a_neuron_that_cannot_run_at_all_is_told() -> None:
    neuron = sj_neuron.IFNode()
    neuron.register_forward_hook(lambda m, x, y: y[:, 7])
    assert "it cannot be run by itself (IndexError: index 7 is out of bounds" in refusal(neuron)


def everything(module: nn.Module) -> dict[str, Any]:
    """All that a module holds: the objects themselves, and what is in them."""
    return {
        f"{path}.{name}": (
            id(value),
            [(key, id(v), v.clone() if isinstance(v, Tensor) else v) for key, v in items(value)],
        )
        for path, part in module.named_modules()
        for name, value in vars(part).items()
    }


def items(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items()) if isinstance(value, dict) else [("", value)]


@pytest.mark.parametrize("name", [*SINGLE, *SPIKINGJELLY])
def test_a_neuron_is_left_as_it_was(name: str) -> None:
    neuron = SINGLE[name][1]() if name in SINGLE else NEURONS[name]()
    around(neuron)
    neuron.register_forward_hook(draw)
    before, drawn = everything(neuron), torch.random.get_rng_state()
    assert blocker(neuron, (SIZE,)) is not None
    after = everything(neuron)
    assert before.keys() == after.keys()
    for key, (place, parts) in before.items():
        assert after[key][0] == place, key
        for (label, identity, value), (_, now, later) in zip(parts, after[key][1], strict=True):
            assert identity == now, (key, label)
            assert torch.equal(value, later) if isinstance(value, Tensor) else value is later, (key, label)
    assert neuron.training
    assert torch.equal(torch.random.get_rng_state(), drawn)


def test_a_neuron_that_fails_is_left_as_it_was() -> None:
    neuron = sj_neuron.IFNode()
    neuron.register_forward_hook(lambda m, x, y: y.nothing)
    before = vars(neuron)
    assert blocker(neuron) is not None
    assert vars(neuron) is before


def test_all_neurons_of_a_net_are_tried_and_told_at_once() -> None:
    net = nn.Sequential(nn.Linear(4, SIZE), LEAKY(), nn.Linear(SIZE, SIZE), LEAKY(), nn.Linear(SIZE, 3), LEAKY())
    network = trace(net, (4,)).network
    modules = dict(net.named_modules())
    assert check_neurons_against_rules(modules, network) == []
    net[1].register_forward_hook(negate)
    net[5].spike_grad = shifted
    assert [refused.layer for refused in check_neurons_against_rules(modules, network)] == ["1", "5"]


def test_what_a_traced_model_holds_in_a_neurons_place_is_looked_behind() -> None:
    traced = trace(nn.Sequential(nn.Linear(4, SIZE), layer("IAFSqueeze")(), nn.Linear(SIZE, 3)), (4,))
    placed = traced.module.get_submodule("1")
    assert isinstance(placed, Step)
    assert check_neurons_against_rules({"1": placed}, traced.network) == []
    placed.inner.register_forward_hook(negate)
    assert len(check_neurons_against_rules({"1": placed}, traced.network)) == 1


def test_a_layer_runs_with_few_neurons_where_all_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    draw = against_rule.draw_currents
    monkeypatch.setattr(against_rule, "draw_currents", lambda r, s, **near: sizes.append(s) or draw(r, s, **near))
    each = torch.rand(64, 1, 1) + 0.1
    for neuron in (LEAKY(), leaky(0.9, "zero", threshold=each)(), HARMLESS["forward on the instance"]()):
        blocker(neuron, (64, 32, 32))
    assert sizes == [(2, 2, 2), (64, 2, 2), (64, 32, 32)]


FOREIGN = {
    name: type(name, (nn.Module,), {"forward": lambda self, x: (x > 1).float()}) for name in ("LIFNode", "Leaky")
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_class_that_only_has_a_neurons_name_is_refused(name: str) -> None:
    of = "spikingjelly" if name == "LIFNode" else "snntorch"
    with pytest.raises(UnsupportedError) as caught:
        trace(nn.Sequential(nn.Linear(4, 3), FOREIGN[name]()), (4,))
    assert str(caught.value) == (
        f"1: this {name} is a class of test_neuron_vs_rule, not the neuron of {of} that goes by this name. Use the "
        f"{name} of {of} or derive the class from it, or rename a layer that is no neuron"
    )


def test_a_namesake_with_all_attributes_of_the_neuron_is_still_another_class() -> None:
    values = {"v_threshold": 1.0, "v_reset": 0.0, "tau": 2.0, "decay_input": True, "reset": lambda self: None}
    neuron = type("LIFNode", (nn.Module,), values | {"forward": lambda self, x: torch.sign(x)})()
    with pytest.raises(NeuronProblem, match="is a class of test_neuron_vs_rule, not the neuron of spikingjelly"):
        to_nir(neuron, SHAPE, torch.float32)


class Leaky(nn.Module):
    """A layer of a user's, named as the neuron that it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.neuron = nn.Linear(4, SIZE), LEAKY()

    def forward(self, x: Tensor) -> Any:
        return self.neuron(self.fc(x))


def test_a_layer_named_as_the_neuron_in_it_is_looked_into() -> None:
    assert not is_spiking_neuron(Leaky())
    assert "0.neuron" in trace(nn.Sequential(Leaky(), nn.Linear(SIZE, 3)), (4,)).network.nodes


def test_neurons_that_derive_from_a_frameworks_base_class_are_refused_as_such() -> None:
    class Mine(sj_neuron.base_node.BaseNode):
        pass

    class Other(norse.SNNCell if hasattr(norse, "SNNCell") else type(norse.IAFCell()).__mro__[1]):
        pass

    with pytest.raises(NeuronProblem, match="this Mine is derived: SpikingJelly's BaseNode is not supported"):
        to_nir(Mine(), SHAPE, torch.float32)
    with pytest.raises(NeuronProblem, match="this Other is derived: norse's SNNCell is not supported"):
        to_nir(Other(None, None, None), SHAPE, torch.float32)


def test_parameters_are_read_in_float64_whatever_the_module_computes_in() -> None:
    lapicque = snntorch.Lapicque(R=3.0, C=0.7, init_hidden=True)
    lif = layer("LIF", tau_mem=3.0)()
    box = cell("LIFBoxCell", "LIFBoxParameters", tau_mem_inv=70.0)()
    share = 1 / (np.float64(np.float32(0.7)) * 3)
    for neuron, keep in ((lapicque, 1 - share), (lif, np.exp(-1 / 3)), (box, 1 - 0.001 * 70)):
        rule = rule_of("", to_nir(neuron, SHAPE, torch.float32))
        np.testing.assert_allclose(rule.keep, keep, rtol=1e-15)


def test_rules_changed_by_hand_stay_rules() -> None:
    """The helper above changes what it says and nothing else."""
    node = to_nir(LIF(), SHAPE, torch.float32)
    rule, same = rule_of("", node), rule_of("", changed_node(node))
    assert isinstance(node, nir.LIF)
    assert all(np.array_equal(getattr(rule, name), getattr(same, name)) for name in vars(replace(rule)))
