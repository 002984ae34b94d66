"""The SEW family: sizes of the paper's networks, what the gates compute, states in time, tracing, and checkpoints."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import snntorch
import torch
from spikingjelly.activation_based import neuron as sj_neuron
from torch import Tensor, nn

from snn2hw.errors import DataError, ModelError, OptionError, Snn2hwError
from snn2hw.models.checkpoint import ARCHITECTURES, build_model, save_checkpoint
from snn2hw.models.neurons import leaky, reset_states, run_timesteps
from snn2hw.models.sew_resnet import (
    CONNECTS,
    GATES,
    BasicBlock,
    Bottleneck,
    SEWResNet,
    Stage,
    imagenet_net,
    seven_b_net,
    wide_seven_b_net,
    zero_initialise,
)
from snn2hw.training import nets


def digits_config(connect: str, **options: float) -> tuple[str, dict[str, Any]]:
    return nets.architecture(connect), nets.digits(connect, **options) | {"timesteps": 4}


class LearnedDecay(nn.Module):
    """Stands for PLIF: a neuron layer with one learned number."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))


class Memoryless(nn.Module):
    """Fires where its input is above 1."""

    def forward(self, x: Tensor) -> Tensor:
        return (x > 1).to(x.dtype)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def spikes(*shape: int, rate: float = 0.5, seed: int = 0) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


def give_norms_statistics(model: nn.Module) -> None:
    """Make BN more than a copy, as it is after training, and spikes frequent in every layer."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.rand(module.num_features, generator=generator) / 5 - 0.2
            module.running_var = torch.rand(module.num_features, generator=generator) / 20 + 0.02


def small_net(connect: str = "ADD", **changes: Any) -> SEWResNet:
    sizes: dict[str, Any] = {
        "connect": connect,
        "input_shape": (2, 8, 8),
        "stem_kernel": 3,
        "stem_channels": 4,
        "stages": [Stage(channels=4), Stage(channels=8, stride=2, blocks=2)],
        "classes": 3,
        "neuron": leaky,
    }
    torch.manual_seed(0)
    model = SEWResNet(**(sizes | changes))
    give_norms_statistics(model)
    return model.eval()


# The networks of the papers


@pytest.mark.parametrize(
    ("depth", "count"), [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032), (101, 44_549_160), (152, 60_192_808)]
)
def test_imagenet_nets_have_the_size_of_the_papers(depth: int, count: int) -> None:
    with torch.device("meta"):
        assert parameters(imagenet_net(depth, "ADD", nn.Identity)) == count


def test_imagenet_net_computes_1000_logits_and_has_the_names_of_torchvision() -> None:
    net = imagenet_net(18, "ADD", leaky).eval()
    with torch.no_grad():
        assert run_timesteps(net, torch.rand(1, 3, 224, 224), 1).shape == (1, 1000)
    assert {"conv1.weight", "bn1.weight", "layer1.0.conv2.weight", "layer4.0.downsample.1.bias", "fc.bias"} <= set(
        net.state_dict()
    )


@pytest.mark.parametrize(("net", "count"), [(seven_b_net, 130_426), (wide_seven_b_net, 1_192_218)])
def test_event_nets_have_the_size_of_the_papers_with_one_learned_decay_a_neuron(net: Any, count: int) -> None:
    assert parameters(net("ADD", LearnedDecay)) == count


def test_event_net_computes_11_logits() -> None:
    with torch.no_grad():
        assert run_timesteps(seven_b_net("ADD", leaky).eval(), torch.rand(1, 2, 2, 128, 128), 2).shape == (1, 11)


def test_plain_net_is_the_net_without_shortcuts() -> None:
    assert not any("downsample" in name for name in small_net("plain").state_dict())
    block = BasicBlock(4, 4, 1, "plain", Memoryless).eval()
    x = spikes(1, 4, 5, 5)
    assert torch.equal(block(x), block.neuron2(block.bn2(block.conv2(block.neuron1(block.bn1(block.conv1(x)))))))


# The gates


@pytest.mark.parametrize("connect", GATES)
@pytest.mark.parametrize("stride", [1, 2])
def test_block_computes_the_connect_function(connect: str, stride: int) -> None:
    block = BasicBlock(3, 3, stride, connect, leaky)
    give_norms_statistics(block)
    block.eval()

    def norm(bn: nn.BatchNorm2d, current: Tensor) -> Tensor:
        assert bn.running_mean is not None and bn.running_var is not None
        scale = (bn.running_var + bn.eps).rsqrt()
        return (current - bn.running_mean[:, None, None]) * scale[:, None, None]

    membranes: dict[str, Tensor | float] = {"1": 0.0, "2": 0.0, "shortcut": 0.0}

    def fire(name: str, current: Tensor) -> Tensor:
        h = membranes[name] + current
        membranes[name] = torch.where(h > 1, 0.0, h)
        return (h > 1).float()

    fired = torch.zeros(())
    for step in range(4):
        x = spikes(2, 3, 6, 6, seed=step)
        a = fire("1", norm(block.bn1, nn.functional.conv2d(x, block.conv1.weight, stride=stride, padding=1)))
        a = fire("2", norm(block.bn2, nn.functional.conv2d(a, block.conv2.weight, padding=1)))
        s = x
        if stride == 2:
            assert block.downsample is not None
            conv, bn, _ = block.downsample
            assert isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d)
            s = fire("shortcut", norm(bn, nn.functional.conv2d(x, conv.weight, stride=2)))
        expected = {"ADD": a + s, "AND": torch.minimum(a, s), "IAND": torch.where(a == 1, 0.0, s)}[connect]
        assert torch.equal(block(x), expected)
        fired += a.sum()
    assert fired > 0


@pytest.mark.parametrize("kind", [BasicBlock, Bottleneck])
@pytest.mark.parametrize("connect", GATES)
def test_zero_initialised_block_is_the_identity_at_every_step(connect: str, kind: Any) -> None:
    channels = 8
    block = kind(channels, channels // kind.expansion, 1, connect, leaky)
    zero_initialise(block)
    for step in range(4):
        x = spikes(2, channels, 5, 5, seed=step)
        assert torch.equal(block(x), x)


def test_spiking_block_fires_on_the_sum_of_current_and_shortcut() -> None:
    block = BasicBlock(3, 6, 2, "spiking", Memoryless).eval()
    x = spikes(2, 3, 6, 6)
    assert block.downsample is not None and len(block.downsample) == 2
    branch = block.bn2(block.conv2(block.neuron1(block.bn1(block.conv1(x)))))
    assert torch.equal(block(x), (branch + block.downsample(x) > 1).float())


def test_add_puts_out_graded_spikes_up_to_one_more_than_the_blocks_of_a_stage() -> None:
    stage = small_net(stages=[Stage(channels=4, blocks=3)])
    for module in stage.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.zeros_(module.weight)
            nn.init.constant_(module.bias, 2.0)
    seen: list[Tensor] = []
    stage.get_submodule("layer1").register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    run_timesteps(stage, torch.ones(1, 2, 8, 8), 1)
    assert set(seen[0].flatten().tolist()) == {4.0}


# Time


@pytest.mark.parametrize("connect", CONNECTS)
def test_two_runs_are_equal_because_each_starts_from_reset(connect: str) -> None:
    model = small_net(connect)
    x = torch.rand(4, 2, 8, 8)
    with torch.no_grad():
        first = run_timesteps(model, x, 4)
        assert torch.equal(run_timesteps(model, x, 4), first)
        frames = [x] * 4
        reset_states(model)
        assert torch.equal(torch.stack([model(frame) for frame in frames]).mean(0), first)
        assert not torch.equal(torch.stack([model(frame) for frame in frames]).mean(0), first), "no state was carried"


def test_static_input_is_the_same_frame_every_step() -> None:
    model = small_net()
    x = torch.rand(4, 2, 8, 8)
    with torch.no_grad():
        assert torch.equal(run_timesteps(model, x, 3), run_timesteps(model, x[:, None].expand(-1, 3, -1, -1, -1), 3))


def test_reset_reaches_neurons_of_other_libraries() -> None:
    class Counter(nn.Module):
        count = 3

        def reset(self) -> None:
            self.count = 0

    counter = Counter()
    reset_states(nn.Sequential(nn.Sequential(counter), snntorch.Leaky(beta=0.5)))
    assert counter.count == 0


def test_spikingjelly_neurons_can_be_the_neurons() -> None:
    net = seven_b_net("ADD", sj_neuron.ParametricLIFNode)
    assert parameters(net) == 130_426
    with torch.no_grad():
        x = torch.rand(1, 2, 128, 128)
        assert torch.equal(run_timesteps(net.eval(), x, 2), run_timesteps(net, x, 2))


def test_neurons_of_a_discarded_model_are_not_kept_alive() -> None:
    before = len(snntorch.SpikingNeuron.instances)
    small_net()
    assert len(snntorch.SpikingNeuron.instances) == before


def test_leaky_fires_above_its_threshold_and_is_reset_to_zero() -> None:
    neuron = leaky(beta=0.5, threshold=1.0)
    currents = [1.0, 0.75, 0.5, 1.0]  # membranes 1 (at the threshold: silent), 1.25 (fires), 0.5, 1.25 (fires)
    assert [neuron(torch.tensor([current])).item() for current in currents] == [0.0, 1.0, 0.0, 1.0]


# Tracing


@pytest.mark.parametrize("connect", CONNECTS)
def test_torch_fx_traces_one_step_with_neurons_as_leaves(connect: str) -> None:
    class NeuronsAreLeaves(torch.fx.Tracer):
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            return isinstance(m, snntorch.SpikingNeuron) or super().is_leaf_module(m, module_qualified_name)

    model = small_net(connect)
    traced = torch.fx.GraphModule(model, NeuronsAreLeaves().trace(model))
    x = torch.rand(2, 2, 8, 8)
    with torch.no_grad():
        assert torch.equal(run_timesteps(traced, x, 3), run_timesteps(model, x, 3))
    functions = {node.target.__name__ for node in traced.graph.nodes if node.op == "call_function"}
    assert functions == {
        "ADD": {"add"}, "AND": {"mul"}, "IAND": {"sub", "mul"}, "spiking": {"add"}, "plain": set()
    }[connect]  # fmt: skip


def test_a_net_of_stateless_modules_is_traced_by_symbolic_trace() -> None:
    torch.fx.symbolic_trace(small_net(neuron=nn.ReLU))


# Checkpoints


@pytest.mark.parametrize("connect", ["ADD", "AND", "IAND", "spiking"])
def test_checkpoint_rebuilds_the_same_function(connect: str, tmp_path: Path) -> None:
    arch, config = digits_config(connect, beta=0.875)
    model = build_model(arch, config).eval()
    give_norms_statistics(model)
    x = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        expected = run_timesteps(model, x, 4)
    save_checkpoint(tmp_path / "net.pt", model, arch, config)

    checkpoint = torch.load(tmp_path / "net.pt", weights_only=True)
    assert set(checkpoint) == {"schema", "arch", "config", "state_dict"}
    assert checkpoint["schema"] == "snn2hw.checkpoint/1"
    loaded = build_model(checkpoint["arch"], checkpoint["config"]).eval()
    loaded.load_state_dict(checkpoint["state_dict"], strict=True)
    with torch.no_grad():
        assert torch.equal(run_timesteps(loaded, x, 4), expected)


def test_the_same_model_gives_the_same_bytes_and_nothing_else(tmp_path: Path) -> None:
    arch, config = digits_config("ADD")
    model = build_model(arch, config)
    save_checkpoint(tmp_path / "one.pt", model, arch, config)
    state = torch.load(tmp_path / "one.pt", weights_only=True)["state_dict"]
    again = build_model(arch, config)
    run_timesteps(again, torch.rand(2, 1, 8, 8), 4)
    again.load_state_dict(state)
    save_checkpoint(tmp_path / "two.pt", again, arch, config)
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "two.pt").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.pt", "two.pt"]


def test_a_config_of_another_model_is_not_written(tmp_path: Path) -> None:
    arch, config = digits_config("ADD")
    model = build_model(arch, config)
    with pytest.raises(ModelError, match="builds another model"):
        save_checkpoint(tmp_path / "net.pt", model, arch, config | {"classes": 11})
    assert list(tmp_path.iterdir()) == []


def test_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"resnet_sew.*sew_resnet, spiking_resnet"):
        build_model("resnet_sew", {})
    assert set(ARCHITECTURES) == {"sew_resnet", "spiking_resnet", "plain_net"}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["connect"], "XOR", "'connect' is 'XOR'; it must be one of ADD, AND, IAND"),
        (["connect"], None, "'connect' is None"),
        (["input_shape"], [8, 8], "'input_shape' is .*three sizes"),
        (["input_shape"], [1, 8, 8.0], "'input_shape' is "),
        (["timesteps"], 0, "'timesteps' is 0; it must be a whole number of at least 1"),
        (["timesteps"], True, "'timesteps' is True"),
        (["classes"], "10", "'classes' is '10'"),
        (["neuron"], None, "'neuron' is None; it must be a mapping"),
        (["neuron", "kind"], "GLIF", "neuron: 'kind' is 'GLIF'"),
        (["neuron", "beta"], 1.5, "neuron: 'beta' is 1.5; it must be a number from 0 to 1"),
        (["neuron", "beta"], math.nan, "neuron: 'beta' is nan"),
        (["neuron", "threshold"], 0, "neuron: 'threshold' is 0"),
        (["neuron", "tau"], 2.0, "neuron: key 'tau' is unknown"),
        (["stem", "kernel"], 5, "stem: 'kernel' is 5; it must be one of 1, 3, 7"),
        (["stages"], [], "'stages' is "),
        (["stages"], [None], "stage 1 is None; it must be a mapping"),
        (["stages", 1, "stride"], "2", "stage 2: 'stride' is '2'"),
        (["stages", 0, "max_pool"], 1, "stage 1: 'max_pool' is 1; it must be true or false"),
        (["depth"], 18, "key 'depth' is unknown"),
    ],
)
def test_wrong_config_is_named(path: list[Any], value: object, message: str) -> None:
    arch, config = digits_config("ADD")
    config = copy.deepcopy(config)
    place: Any = config
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ModelError, match=message):
        build_model(arch, config)


def test_all_problems_of_a_config_are_reported_at_once() -> None:
    arch, config = digits_config("ADD")
    del config["block"], config["classes"]
    with pytest.raises(ModelError, match=r"(?s)'block' is missing.*'classes' is missing.*'colour' is unknown"):
        build_model(arch, config | {"colour": 1})


def test_spiking_resnet_takes_no_connect_function() -> None:
    _, config = digits_config("ADD")
    with pytest.raises(ModelError, match="config of spiking_resnet: 'connect' is 'ADD'"):
        build_model("spiking_resnet", config)


# Bad arguments


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"connect": "OR"}, "connect is 'OR'"),
        ({"block": "wide"}, "block is 'wide'"),
        ({"stem_kernel": 5}, "stem_kernel is 5"),
        ({"classes": 0}, "at least 1"),
        ({"input_shape": (8, 8)}, "input_shape"),
        ({"stages": []}, "at least one stage"),
        ({"stages": [Stage(channels=0)]}, "stage 1"),
        ({"stages": [Stage(channels=4, max_pool=True)] * 4}, "image after stage 4"),
    ],
)
def test_sizes_that_make_no_network_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        small_net(**changes)


@pytest.mark.parametrize(
    ("shape", "timesteps", "error", "message"),
    [
        ((1, 2, 8, 8), 0, OptionError, "timesteps is 0"),
        ((2, 8, 8), 4, DataError, r"\[2, 8, 8\]"),
        ((1, 3, 2, 8, 8), 4, DataError, "holds 3 time steps, but timesteps is 4"),
        ((1, 1, 8, 8), 4, DataError, r"the model takes \[2, 8, 8\]"),
    ],
)
def test_input_that_does_not_fit_is_named(
    shape: tuple[int, ...], timesteps: int, error: type[Snn2hwError], message: str
) -> None:
    with pytest.raises(error, match=message):
        run_timesteps(small_net(), torch.zeros(shape), timesteps)
