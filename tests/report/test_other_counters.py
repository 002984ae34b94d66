"""Operations, footprint and sparsities are those that NeuroBench and SpikingJelly count in the same network."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from counted_nets import NAMES, Counted, counted
from neurobench.metrics.static import ConnectionSparsity, Footprint
from neurobench.metrics.utils.layers import single_layer_MACs
from neurobench.metrics.workload import ActivationSparsity, SynapticOperations
from neurobench.models import TorchModel
from spikingjelly.activation_based.op_counter import DispatchCounterMode, MACCounter, SynOpCounter

from snn2hw.frontends.neurons import is_spiking_neuron, reset_state
from snn2hw.frontends.neurons.float64 import Float32IsFloat64, InFloat64
from snn2hw.report.document import footprint
from snn2hw.report.energy import weighted
from snn2hw.report.events import SynapseEvents
from snn2hw.report.network import layer_weights, model_bytes


@pytest.fixture(params=NAMES)
def net(request: pytest.FixtureRequest) -> Counted:
    return counted(request.param)


@cache
def hooked(net: Counted) -> TorchModel:
    """The model run once under NeuroBench's hooks."""
    model = TorchModel(net.model.module)
    for kind in {type(module) for module in net.model.module.modules() if is_spiking_neuron(module)}:
        model.add_activation_module(kind)
    model.register_hooks()
    run_module(net)
    return model


def run_module(net: Counted) -> None:
    """Every step, from the initial state, of the module itself: tools hook into its layers."""
    reset_state(net.model.module)
    with torch.no_grad(), Float32IsFloat64(), InFloat64():  # a surrogate may answer float32
        for frame in net.steps():
            net.model.module(frame)


def binary_steps(synapses: SynapseEvents) -> list[bool]:
    """The steps in which nothing above 1 arrives. The other tools look at values: for them those steps are binary."""
    if synapses.carries == "input":
        return [False] * len(synapses.spikes)
    return [spikes == values for spikes, values in zip(synapses.spikes, synapses.values, strict=True)]


def test_every_layer_has_neurobenchs_operations_on_nonzero_weights(net: Counted) -> None:
    model = hooked(net)
    paths = {module: path for path, module in net.model.module.named_modules()}
    seen = {}
    for hook in model.connection_hooks:
        hook.close()  # what counts calls a copy of the layer, hooks and all
        per_step = [single_layer_MACs(inputs[0], hook.layer) for inputs in hook.inputs]
        seen[paths[hook.layer]] = per_step
    ours = {layer.name: synapses for layer, synapses in weighted(net.events)}
    assert seen.keys() == ours.keys()
    for path, per_step in seen.items():
        assert ours[path].nonzero_weights == tuple(operations for operations, _ in per_step), path
        assert binary_steps(ours[path]) == [spiking for _, spiking in per_step], path
    assert sum(sum(synapses.nonzero_weights) for synapses in ours.values()) > 0


def test_totals_are_neurobenchs_accumulates_and_multiplications(net: Counted) -> None:
    theirs = SynapticOperations()(hooked(net), None, (torch.from_numpy(net.samples.x), None))
    layers = [synapses for _, synapses in weighted(net.events)]
    count = len(net.samples)
    by_step = [pair for each in layers for pair in zip(each.nonzero_weights, binary_steps(each), strict=True)]
    binary = sum(operations for operations, spiking in by_step if spiking)
    others = sum(operations for operations, spiking in by_step if not spiking)
    dense = net.events.timesteps * sum(each.dense for each in layers)
    assert (theirs["Effective_ACs"] * count, theirs["Effective_MACs"] * count) == (binary, others)
    assert min(binary, others) > 0
    assert theirs["Dense"] == dense


def test_footprint_and_sparsities_are_neurobenchs(net: Counted) -> None:
    model = hooked(net)
    ours = footprint(net.events, layer_weights(net.program, net.model.network), net.model)
    assert ours.model_bytes == Footprint()(model) == model_bytes(net.model)
    assert round(ours.connection_sparsity, 4) == pytest.approx(ConnectionSparsity()(model), abs=1e-9)  # it rounds so
    assert ours.activation_sparsity == pytest.approx(ActivationSparsity()(model, None, None), abs=1e-9)


def test_binary_layers_have_spikingjellys_synaptic_operations(net: Counted) -> None:
    synops, products = SynOpCounter(), MACCounter()
    with DispatchCounterMode([synops, products]):
        run_module(net)
    layers = [synapses for _, synapses in weighted(net.events)]
    by_step = [pair for each in layers for pair in zip(each.operations, binary_steps(each), strict=True)]
    assert synops.get_total() == sum(operations for operations, spiking in by_step if spiking) > 0
    dense = sum(each.dense_with_padding * binary_steps(each).count(False) for each in layers)
    multiplied = products.get_counts()["Global"]  # BatchNorms and neurons multiply too
    aten = torch.ops.aten
    assert sum(multiplied[of] for of in (aten.convolution.default, aten.addmm.default)) == dense * len(net.samples)
