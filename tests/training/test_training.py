"""Training on digits: the data, what training promises, and the checkpoints that ship."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import cli
import numpy as np
import pytest
import torch
from cli import fail, succeed
from torch import nn

from snn2hw.data.named import NAMED_DATASETS, Dataset, digits_test, digits_train, load_digits
from snn2hw.errors import DataError
from snn2hw.models.checkpoint import build_model
from snn2hw.models.neurons import leaky
from snn2hw.models.sew_resnet import SEWResNet, Stage
from snn2hw.training import nets
from snn2hw.training.augment import shift
from snn2hw.training.recipes import RECIPES
from snn2hw.training.run import Job
from snn2hw.training.trainer import Trainer, accuracy

EXAMPLES = Path(__file__).parents[2] / "examples" / "digits"


def tiny_net() -> SEWResNet:
    torch.manual_seed(0)
    return SEWResNet(
        connect="ADD",
        input_shape=(1, 8, 8),
        stem_kernel=3,
        stem_channels=4,
        stages=[Stage(channels=4), Stage(channels=8, stride=2)],
        classes=10,
        neuron=leaky,
    )


def part(data: Dataset, size: int) -> Dataset:
    return Dataset(data.x[:size], data.y[:size], data.name)


RECIPE = replace(RECIPES["digits"], timesteps=2, batch_size=32, learning_rate=1e-2)


def train_tiny(model: SEWResNet, *, epochs: int = 2, seed: int = 0) -> Trainer:
    trainer = Trainer(model, replace(RECIPE, epochs=epochs), part(digits_train(), 256), seed=seed)
    for _ in range(epochs):
        trainer.epoch()
    return trainer


# Data


def test_digits_are_split_once_and_scaled_to_one() -> None:
    train_set, test_set = load_digits()
    assert train_set.x.shape == (1438, 1, 8, 8) and test_set.x.shape == (359, 1, 8, 8)
    assert train_set.x.dtype == torch.float32 and train_set.y.dtype == torch.int64
    assert train_set.x.min() == 0 and train_set.x.max() == 1
    assert set(test_set.y.tolist()) == set(range(10))
    assert torch.equal(digits_train().x, train_set.x) and torch.equal(digits_test().y, test_set.y)


def test_another_seed_gives_another_split_of_the_same_samples() -> None:
    one, other = (torch.cat([part.x for part in load_digits(seed)]) for seed in (0, 1))
    assert not torch.equal(one, other)
    assert sorted(one.flatten(1).tolist()) == sorted(other.flatten(1).tolist())


def test_named_data_sets_have_both_splits() -> None:
    digits = NAMED_DATASETS["digits"]
    assert (len(digits.train()), len(digits.test())) == (1438, 359)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(3, 8, 8), torch.zeros(3, dtype=torch.int64), "x is torch.float32"),
        (torch.zeros(3, 1, 8, 8).double(), torch.zeros(3, dtype=torch.int64), "x is torch.float64"),
        (torch.full((3, 1, 8, 8), math.inf), torch.zeros(3, dtype=torch.int64), "not finite"),
        (torch.zeros(3, 1, 8, 8), torch.zeros(2, dtype=torch.int64), "each of the 3 samples"),
        (torch.zeros(3, 1, 8, 8), torch.zeros(3), "y is torch.float32"),
        (torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.int64), "at least one"),
    ],
)
def test_samples_that_do_not_fit_are_named(x: torch.Tensor, y: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=f"mine: .*{message}"):
        Dataset(x, y, "mine")


@pytest.mark.parametrize("shape", [(40, 1, 5, 4), (40, 3, 2, 5, 4)])
def test_shift_moves_the_image_and_keeps_the_frames_together(shape: tuple[int, ...]) -> None:
    x = torch.zeros(shape)
    x[..., 2, 1] = 1
    moved = shift(x, 1, torch.Generator().manual_seed(0))
    assert moved.shape == x.shape
    places = [sample.nonzero()[:, -2:].unique(dim=0).tolist() for sample in moved]
    assert all(len(place) == 1 for place in places)
    assert {tuple(place[0]) for place in places} == {(row, column) for row in (1, 2, 3) for column in (0, 1, 2)}


# Training


def test_training_reduces_the_loss() -> None:
    losses = [epoch.loss for epoch in train_tiny(tiny_net(), epochs=3).history]
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.slow
def test_a_sew_resnet_of_110_layers_learns() -> None:
    config = nets.narrow("ADD", blocks=54) | {"timesteps": 4}
    recipe = replace(RECIPES["digits"], epochs=10, learning_rate=2e-3, freeze_norm=False, shift=0)
    model = Job(arch="sew_resnet", config=config, recipe=recipe, data="digits").build()
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in model.modules()) == 110
    trainer = Trainer(model, recipe, part(digits_train(), 320), seed=0)
    losses = [trainer.epoch().loss for _ in range(4)]
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0] / 2


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not() -> None:
    models = [tiny_net() for _ in range(3)]
    trainers = [train_tiny(model, seed=seed) for model, seed in zip(models, (0, 0, 1), strict=True)]
    one, same, other = (torch.cat([value.flatten() for value in model.parameters()]) for model in models)
    assert torch.equal(one, same) and not torch.equal(one, other)
    losses = [[epoch.loss for epoch in trainer.history] for trainer in trainers]
    assert losses[0] == losses[1]


def test_batch_norm_keeps_its_statistics_in_the_second_half() -> None:
    model = tiny_net()
    trainer = Trainer(model, replace(RECIPE, epochs=4), part(digits_train(), 64))
    means = []
    for _ in range(4):
        trainer.epoch()
        means.append(model.state_dict()["bn1.running_mean"].clone())
    assert not torch.equal(means[0], means[1])
    assert torch.equal(means[1], means[3])


def test_accuracy_is_the_share_of_right_answers() -> None:
    class AlwaysThree(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.eye(10)[3].expand(len(x), 10)

    data = digits_test()
    assert accuracy(AlwaysThree(), data, timesteps=1, batch_size=100) == data.y.tolist().count(3) / 359


# The command


def trained(*options: object, output: Path, data: str = "digits") -> dict[str, Any]:
    """The checkpoint that `snn2hw train` wrote."""
    succeed("train", data, "--epochs", 1, "--batch-size", 512, "-o", output, *options)
    checkpoint: dict[str, Any] = torch.load(output, weights_only=True)
    return checkpoint


def test_train_writes_a_checkpoint_that_has_the_accuracy_it_says(tmp_path: Path) -> None:
    output = tmp_path / "net.pt"
    told = succeed("train", "digits", "--connect", "IAND", "--timesteps", 2, "--epochs", 1, "--beta", 0.5, "-o", output)
    checkpoint = torch.load(output, weights_only=True)
    assert checkpoint["config"]["connect"] == "IAND" and checkpoint["config"]["timesteps"] == 2
    assert checkpoint["config"]["neuron"] == {"kind": "Leaky", "beta": 0.5, "threshold": 1.0}
    assert NAMED_DATASETS[checkpoint["data"]].test().name == "digits (test)"
    model = build_model(checkpoint["arch"], checkpoint["config"])
    model.load_state_dict(checkpoint["state_dict"])
    assert f"test accuracy {100 * accuracy(model, digits_test(), 2):.2f} %" in told


def test_each_set_has_its_net_and_its_recipe(tmp_path: Path) -> None:
    config = trained("--connect", "ADD", output=tmp_path / "net.pt", data="moving-digits")["config"]
    assert config["neuron"]["kind"] == "ParametricLIFNode"
    assert (config["input_shape"], config["classes"], config["timesteps"]) == ([2, 16, 16], 12, 8)


def test_a_method_a_net_and_a_file_of_samples_can_be_named(tmp_path: Path) -> None:
    data = tmp_path / "mine.npz"
    digits = part(digits_train(), 64)
    np.savez(data, x=digits.x.numpy(), y=digits.y.numpy())
    options = ("--connect", "plain", "--net", "little-7b", "--recipe", "digits", "--method", "trt", "--test", data)
    checkpoint = trained(*options, output=tmp_path / "net.pt", data=str(data))
    assert checkpoint["arch"] == "plain_net" and checkpoint["config"]["input_shape"] == [1, 8, 8]
    assert "data" not in checkpoint


def test_a_training_that_was_cut_goes_on_by_the_command(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, log = alone / "net.pt", alone / "log.csv"
    options = ("train", "digits", "--connect", "ADD", "--timesteps", 1, "--epochs", 2, "-o", output, "--log", log)

    def interrupted(*_: object, **__: object) -> float:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("snn2hw.training.run.accuracy", interrupted)
        assert cli.run(*options).code == 130
    assert "--resume" in fail(*options)
    succeed(*options, "--resume")
    assert len(log.read_text().splitlines()) == 3


def test_a_training_that_diverges_writes_nothing(alone: Path) -> None:
    wild = ("--connect", "ADD", "--timesteps", 1, "--epochs", 2, "--learning-rate", 1e30)
    assert "lower the learning rate" in fail("train", "digits", *wild, "-o", alone / "net.pt")
    assert list(alone.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("digits", "--connect", "XOR"), "connect is 'XOR'; it must be one of ADD, AND, IAND, spiking, plain"),
        (("digits", "--connect", "ADD", "--beta", 1.5), "beta is 1.5; it must be from 0 to 1"),
        (("digits", "--connect", "ADD", "--timesteps", 0), "timesteps is 0; it must be at least 1"),
        (("digits", "--connect", "ADD", "--trained-timesteps", 5), "of 4 time steps it must be 1 to 4"),
        (("digits", "--connect", "ADD", "--net", "vgg"), "--net: there is no net 'vgg': digits, little-7b, 7b"),
        (("digits", "--connect", "ADD", "--recipe", "cake"), "there is no recipe 'cake'. Name one with --recipe"),
        (("digits", "--connect", "ADD", "--method", "magic"), "method 'magic': choose plain, trt"),
        (("moving-digits", "--connect", "ADD", "--beta", 0.5), "--beta is for the net digits"),
        (("nowhere.npz", "--connect", "ADD", "--recipe", "digits"), "nowhere.npz: there is no such file"),
    ],
)
def test_wrong_options_are_named_before_any_training(alone: Path, options: tuple[object, ...], message: str) -> None:
    assert message in fail("train", *options, "-o", alone / "net.pt")
    assert list(alone.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "arch", "connect"),
    [("add", "sew_resnet", "ADD"), ("and", "sew_resnet", "AND"), ("iand", "sew_resnet", "IAND"),
     ("spiking", "spiking_resnet", None)],
)  # fmt: skip
def test_shipped_checkpoints_classify_digits(name: str, arch: str, connect: str | None) -> None:
    path = EXAMPLES / f"{name}.pt"
    assert path.stat().st_size < 500_000
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["arch"] == arch and checkpoint["config"]["connect"] == connect
    assert checkpoint["data"] == "digits"
    model = build_model(arch, checkpoint["config"])
    model.load_state_dict(checkpoint["state_dict"])
    assert accuracy(model, digits_test(), checkpoint["config"]["timesteps"]) >= 0.97
