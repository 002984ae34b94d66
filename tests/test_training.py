"""Training on digits: the data, what training promises, and the checkpoints that ship."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from snn2hw.errors import DataError, OptionError
from snn2hw.models.checkpoint import build_model
from snn2hw.models.neurons import leaky
from snn2hw.models.sew_resnet import SEWResNet, Stage
from snn2hw.training.datasets import NAMED_DATASETS, Dataset, digits_test, digits_train, load_digits
from snn2hw.training.loop import Epoch, TrainingResult, accuracy, shift, train, train_digits

EXAMPLES = Path(__file__).parent.parent / "examples" / "digits"


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


def train_tiny(model: SEWResNet, *, epochs: int = 2, learning_rate: float = 1e-2, seed: int = 0) -> TrainingResult:
    return train(
        model,
        part(digits_train(), 256),
        part(digits_test(), 64),
        timesteps=2,
        epochs=epochs,
        batch_size=32,
        learning_rate=learning_rate,
        seed=seed,
    )


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
    result = train_tiny(tiny_net(), epochs=3)
    assert result.epochs[0].loss > result.epochs[1].loss > result.epochs[2].loss
    assert 0 <= result.test_accuracy <= 1 and result.seconds > 0


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not() -> None:
    models = [tiny_net() for _ in range(3)]
    results = [train_tiny(model, seed=seed) for model, seed in zip(models, (0, 0, 1), strict=True)]
    one, same, other = (torch.cat([value.flatten() for value in model.parameters()]) for model in models)
    assert torch.equal(one, same) and results[0].epochs == results[1].epochs
    assert not torch.equal(one, other)


def test_batch_norm_keeps_its_statistics_in_the_second_half() -> None:
    model = tiny_net()
    means: list[torch.Tensor] = []

    def note(_epoch: Epoch) -> None:
        means.append(model.state_dict()["bn1.running_mean"].clone())

    train(
        model,
        part(digits_train(), 64),
        part(digits_test(), 16),
        timesteps=2,
        epochs=4,
        batch_size=32,
        learning_rate=1e-2,
        seed=0,
        on_epoch=note,
    )
    assert not torch.equal(means[0], means[1])
    assert torch.equal(means[1], means[3])


def test_accuracy_is_the_share_of_right_answers() -> None:
    class AlwaysThree(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.eye(10)[3].expand(len(x), 10)

    data = digits_test()
    assert accuracy(AlwaysThree(), data, timesteps=1, batch_size=100) == data.y.tolist().count(3) / 359


def test_training_stops_where_the_loss_is_no_number() -> None:
    model = tiny_net()
    torch.nn.init.constant_(model.get_submodule("fc").get_parameter("bias"), math.nan)
    with pytest.raises(OptionError, match=r"the loss became nan in epoch 1: lower the learning rate, now 0\.01"):
        train_tiny(model)


@pytest.mark.parametrize("option", ["timesteps", "epochs", "batch_size", "learning_rate"])
def test_options_out_of_range_are_named(option: str) -> None:
    options = {"timesteps": 1, "epochs": 1, "batch_size": 1, "learning_rate": 0.1} | {option: 0}
    with pytest.raises(OptionError, match=f"{option} is 0"):
        train(tiny_net(), digits_train(), digits_test(), seed=0, **options)  # type: ignore[arg-type]


# The digits networks


def test_train_digits_writes_a_checkpoint_that_has_the_accuracy_it_says(tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    result = train_digits("IAND", output=tmp_path / "net.pt", timesteps=2, epochs=1, beta=0.5)
    assert torch.equal(torch.random.get_rng_state(), state)
    checkpoint = torch.load(tmp_path / "net.pt", weights_only=True)
    assert checkpoint["config"]["connect"] == "IAND" and checkpoint["config"]["timesteps"] == 2
    assert checkpoint["config"]["neuron"] == {"kind": "Leaky", "beta": 0.5, "threshold": 1.0}
    assert NAMED_DATASETS[checkpoint["data"]].test().name == "digits (test)"
    model = build_model(checkpoint["arch"], checkpoint["config"])
    model.load_state_dict(checkpoint["state_dict"])
    assert accuracy(model, digits_test(), 2) == result.test_accuracy


def test_train_digits_prints_nothing_where_there_is_no_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train_digits("ADD", output=tmp_path / "net.pt", timesteps=1, epochs=1, batch_size=512)
    assert capfd.readouterr() == ("", "")


def test_a_training_that_diverges_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="lower the learning rate"):
        train_digits("ADD", output=tmp_path / "net.pt", timesteps=1, epochs=2, learning_rate=1e30)
    assert list(tmp_path.iterdir()) == []


def test_wrong_options_of_train_digits_are_named_before_any_training(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"connect is 'XOR'; it must be one of ADD, AND, IAND, spiking"):
        train_digits("XOR", output=tmp_path / "net.pt")
    with pytest.raises(OptionError, match=r"beta is 1\.5"):
        train_digits("ADD", output=tmp_path / "net.pt", beta=1.5)
    with pytest.raises(OptionError, match="in a folder that exists"):
        train_digits("ADD", output=tmp_path / "missing" / "net.pt")
    with pytest.raises(OptionError, match="timesteps is 0"):
        train_digits("ADD", output=tmp_path / "net.pt", timesteps=0)


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
