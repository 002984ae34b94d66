"""Training that is cut and taken up again, shared by processes, and stopped by what goes wrong."""

from __future__ import annotations

import csv
import errno
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snn2hw.data.named import Dataset
from snn2hw.errors import OptionError
from snn2hw.models.blocks import Block
from snn2hw.models.neurons import IFNode
from snn2hw.training.augment import delete_steps
from snn2hw.training.distributed import Group
from snn2hw.training.recipes import RECIPES, Recipe
from snn2hw.training.run import METHODS, Job, TrainingResult, run, state_file
from snn2hw.training.trainer import Epoch, Trainer, accuracy

CONFIG: dict[str, Any] = {
    "connect": "ADD",
    "input_shape": [1, 6, 6],
    "timesteps": 3,
    "neuron": {"kind": "IFNode", "v_threshold": 1.0, "v_reset": 0.0},
    "stem": {"kernel": 3, "channels": 4},
    "block": "basic",
    "stages": [{"channels": 4, "blocks": 2, "stride": 1, "transition": False, "max_pool": False}],
    "global_pool": True,
    "classes": 3,
}
RECIPE = Recipe(epochs=4, batch_size=8, learning_rate=0.05, timesteps=3, shift=1, freeze_norm=True)
JOB = Job(arch="sew_resnet", config=CONFIG, recipe=RECIPE, data="bars")


def bars(count: int, *, steps: int = 0, seed: int = 0) -> Dataset:
    """Images of a bar in one of three places, which is the class; noise on top, anew in each step."""
    random = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (count,), generator=random)
    x = torch.zeros(count, 1, 6, 6)
    for sample, place in enumerate(y.tolist()):
        x[sample, 0, :, 2 * place : 2 * place + 2] = 1
    if steps:
        x = x[:, None].repeat(1, steps, 1, 1, 1)
    return Dataset(x + 0.2 * torch.rand(x.shape, generator=random), y, "bars")


TRAIN, TEST = bars(29), bars(12, seed=1)


def weights(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(value, other[name]) for name, value in one.items())


class Cut(Exception):
    pass


def cut_after(number: int) -> Callable[[Epoch], None]:
    def stop(epoch: Epoch) -> None:
        if epoch.number == number:
            raise Cut

    return stop


# Cut and taken up again


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("number", [1, 3])
def test_a_training_that_was_cut_ends_as_one_that_was_not(tmp_path: Path, method: str, number: int) -> None:
    job = replace(JOB, method=method)
    whole = run(job, TRAIN, TEST, tmp_path / "whole.pt")
    with pytest.raises(Cut):
        run(job, TRAIN, TEST, tmp_path / "cut.pt", on_epoch=cut_after(number))
    assert state_file(tmp_path / "cut.pt").exists() and not (tmp_path / "cut.pt").exists()
    again = run(job, TRAIN, TEST, tmp_path / "cut.pt", resume=True)
    assert same(weights(tmp_path / "whole.pt"), weights(tmp_path / "cut.pt"))
    assert [epoch.loss for epoch in again.epochs] == [epoch.loss for epoch in whole.epochs]
    assert again.test_accuracy == whole.test_accuracy
    assert not state_file(tmp_path / "cut.pt").exists()


def test_cutting_matters_where_the_state_is_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check above can fail: without the generator's state the rest of the training is another."""
    run(JOB, TRAIN, TEST, tmp_path / "whole.pt")
    with pytest.raises(Cut):
        run(JOB, TRAIN, TEST, tmp_path / "cut.pt", on_epoch=cut_after(1))
    load = Trainer.load_state_dict

    def forgetful(self: Trainer, state: dict[str, Any]) -> None:
        load(self, state | {"generator": torch.Generator().manual_seed(9).get_state()})

    monkeypatch.setattr(Trainer, "load_state_dict", forgetful)
    run(JOB, TRAIN, TEST, tmp_path / "cut.pt", resume=True)
    assert not same(weights(tmp_path / "whole.pt"), weights(tmp_path / "cut.pt"))


KILLED = """
import sys, time, test_trainer as t
from pathlib import Path
t.run(t.JOB, t.TRAIN, t.TEST, Path(sys.argv[1]), on_batch=lambda *_: time.sleep(0.05))
"""


def test_a_training_that_was_killed_ends_as_one_that_was_not(tmp_path: Path) -> None:
    output = tmp_path / "killed.pt"
    variables = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", KILLED, str(output)], env=variables)
    deadline = time.monotonic() + 120
    while not state_file(output).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.07)  # in the midst of a batch
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was to be killed before its end"
    run(JOB, TRAIN, TEST, output, resume=True)
    run(JOB, TRAIN, TEST, tmp_path / "whole.pt")
    assert same(weights(tmp_path / "whole.pt"), weights(output))


def test_a_state_in_the_way_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(Cut):
        run(JOB, TRAIN, TEST, tmp_path / "net.pt", on_epoch=cut_after(1))
    with pytest.raises(OptionError, match=r"net.pt.training holds a training that was cut. Go on with it by --resume"):
        run(JOB, TRAIN, TEST, tmp_path / "net.pt")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"config": CONFIG | {"connect": "AND"}}, "was begun with connect 'ADD', not 'AND'. Ask for the same"),
        ({"recipe": replace(RECIPE, epochs=9)}, "was begun with epochs 4, not 9"),
        ({"seed": 3, "method": "trt"}, "method 'plain', not 'trt', seed 0, not 3"),
    ],
)
def test_another_training_is_not_gone_on_with(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    with pytest.raises(Cut):
        run(JOB, TRAIN, TEST, tmp_path / "net.pt", on_epoch=cut_after(1))
    with pytest.raises(OptionError, match=message):
        run(replace(JOB, **other), TRAIN, TEST, tmp_path / "net.pt", resume=True)


def test_what_is_no_state_is_told(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"there is no training to go on with. Leave out --resume"):
        run(JOB, TRAIN, TEST, tmp_path / "net.pt", resume=True)
    state_file(tmp_path / "net.pt").write_bytes(b"not a state")
    with pytest.raises(OptionError, match="this is no state of a training"):
        run(JOB, TRAIN, TEST, tmp_path / "net.pt", resume=True)
    torch.save({"schema": "other/1"}, state_file(tmp_path / "net.pt"))
    with pytest.raises(OptionError, match="its schema is 'other/1'"):
        run(JOB, TRAIN, TEST, tmp_path / "net.pt", resume=True)


def test_a_full_disk_leaves_the_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(Cut):
        run(JOB, TRAIN, TEST, tmp_path / "net.pt", on_epoch=cut_after(2))
    state = state_file(tmp_path / "net.pt").read_bytes()
    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr(os, "fsync", full)
        run(JOB, TRAIN, TEST, tmp_path / "net.pt", resume=True)
    assert state_file(tmp_path / "net.pt").read_bytes() == state
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt.training"]
    run(JOB, TRAIN, TEST, tmp_path / "net.pt", resume=True)


# What goes wrong while training


def test_a_loss_that_is_no_number_is_told_with_batch_and_layer() -> None:
    trainer = Trainer(JOB.build(), RECIPE, TRAIN)
    nn.init.constant_(trainer.model.get_submodule("fc").get_parameter("weight"), 3e38)
    nn.init.constant_(trainer.model.get_submodule("bn1").get_parameter("bias"), 9.0)
    with pytest.raises(OptionError, match=r"the loss became nan in epoch 1, batch 1, first in fc: lower the learning"):
        trainer.epoch()


def test_a_weight_that_is_no_number_is_named() -> None:
    trainer = Trainer(JOB.build(), RECIPE, TRAIN)
    nn.init.constant_(trainer.model.get_submodule("fc").get_parameter("bias"), math.nan)
    with pytest.raises(OptionError, match=r"the loss became nan in epoch 1, batch 1, first in fc.bias: lower"):
        trainer.epoch()


def test_numbers_that_neurons_hide_stop_the_training_and_the_last_state_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Cut):
        run(JOB, TRAIN, TEST, tmp_path / "net.pt", on_epoch=cut_after(2))
    state = state_file(tmp_path / "net.pt").read_bytes()
    forward = IFNode.forward
    monkeypatch.setattr(IFNode, "forward", lambda self, x: forward(self, x * math.nan))
    with pytest.raises(OptionError, match=r"no numbers any more after epoch 3, first in conv1.weight: lower .* 0.05"):
        run(JOB, TRAIN, TEST, tmp_path / "net.pt", resume=True)
    assert state_file(tmp_path / "net.pt").read_bytes() == state


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trained_timesteps": 4}, r"trained_timesteps is 4; of 3 time steps it must be 1 to 3"),
        ({"epochs": 0}, r"epochs is 0; it must be at least 1"),
        ({"learning_rate": math.nan}, r"learning_rate is nan; it must be above 0"),
    ],
)
def test_recipes_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        replace(RECIPE, **changes)


def test_an_unknown_method_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"method 'magic': choose plain, trt"):
        run(replace(JOB, method="magic"), TRAIN, TEST, tmp_path / "net.pt")


# Random temporal delete


def test_random_temporal_delete_keeps_the_order_and_draws_once_a_batch() -> None:
    x = torch.arange(8.0).repeat(5, 1)[..., None, None, None]
    random = torch.Generator().manual_seed(0)
    drawn = {tuple(delete_steps(x, 5, random)[0, :, 0, 0, 0].tolist()) for _ in range(40)}
    assert all(list(steps) == sorted(set(steps)) and len(steps) == 5 for steps in drawn)
    assert len(drawn) > 20, "the draws differ"
    remaining = delete_steps(x, 5, random)
    assert all(torch.equal(sample, remaining[0]) for sample in remaining)
    assert delete_steps(x, 8, random) is x


def test_training_sees_so_many_steps_and_measuring_all() -> None:
    seen: list[int] = []
    data = bars(16, steps=6)
    recipe = replace(RECIPE, timesteps=6, trained_timesteps=4, shift=0)

    def watch(model: nn.Module, x: Tensor, y: Tensor, timesteps: int) -> tuple[Tensor, Tensor]:
        seen.append(x.shape[1])
        assert timesteps == x.shape[1]
        return METHODS["plain"]()(model, x, y, timesteps)

    trainer = Trainer(JOB.build(), recipe, data, loss=watch)
    trainer.epoch()
    assert set(seen) == {4}
    assert 0 <= accuracy(trainer.model, data, 6) <= 1


# Logs, recipes, half precision


def test_the_log_has_a_row_an_epoch_also_after_a_cut(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    with pytest.raises(Cut):
        run(JOB, TRAIN, TEST, tmp_path / "net.pt", log=log, on_epoch=cut_after(2))
    result: TrainingResult = run(JOB, TRAIN, TEST, tmp_path / "net.pt", log=log, resume=True)
    with log.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["number"]) for row in rows] == [1, 2, 3, 4]
    assert [float(row["loss"]) for row in rows] == [epoch.loss for epoch in result.epochs]
    assert float(rows[0]["learning_rate"]) == 0.05


def test_the_papers_recipes_are_those_of_the_authors_logs() -> None:
    imagenet, gesture, cifar = (asdict(RECIPES[name]) for name in ("imagenet", "dvs128-gesture", "cifar10-dvs"))
    common = {"optimizer": "SGD", "momentum": 0.9, "weight_decay": 0.0, "amp": True, "shift": 0, "freeze_norm": False}
    assert (
        imagenet.items()
        >= (
            common | {"learning_rate": 0.1, "epochs": 320, "batch_size": 32 * 8, "timesteps": 4, "schedule": "cosine"}
        ).items()
    )
    assert (
        gesture.items()
        >= (
            common
            | {"learning_rate": 1e-3, "epochs": 192, "batch_size": 16, "timesteps": 16, "trained_timesteps": 12}
            | {"schedule": "step", "step_size": 64, "gamma": 0.1, "zero_init": True}
        ).items()
    )
    assert (
        cifar.items()
        >= (
            common | {"learning_rate": 0.01, "epochs": 64, "batch_size": 16, "timesteps": 16, "trained_timesteps": None}
        ).items()
    )


@pytest.mark.parametrize(
    ("schedule", "rates"), [("cosine", [0.05, 0.0427, 0.025, 0.0073]), ("step", [0.05, 0.05, 0.005, 0.005])]
)
def test_the_learning_rate_follows_its_schedule(schedule: Any, rates: list[float]) -> None:
    trainer = Trainer(JOB.build(), replace(RECIPE, schedule=schedule, step_size=2), TRAIN)
    assert [trainer.epoch().learning_rate for _ in range(4)] == pytest.approx(rates, abs=1e-4)


def test_zero_init_starts_every_block_as_the_identity() -> None:
    model = replace(JOB, recipe=replace(RECIPE, zero_init=True)).build()
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    assert len(blocks) == 2 and all((block.get_submodule("bn2").get_parameter("weight") == 0).all() for block in blocks)


def test_half_precision_trains() -> None:
    trainer = Trainer(JOB.build(), replace(RECIPE, amp=True, epochs=6), TRAIN)
    losses = [trainer.epoch().loss for _ in range(6)]
    assert losses[-1] < losses[0]
    assert all(parameter.dtype == torch.float32 for parameter in trainer.model.parameters())


# Several processes

SHARED = """
import sys, torch, test_trainer as t
from pathlib import Path
from snn2hw.training.distributed import process_group
with process_group("cpu") as (group, device):
    trainer = t.Trainer(t.without_norm(), t.SHARED_RECIPE, t.TRAIN, group=group, device=device)
    losses = [trainer.epoch().loss for _ in range(2)]
    accuracy = t.accuracy(trainer.model, t.TEST, 3, group=group)
    torch.save((losses, accuracy, trainer.model.state_dict()), f"{sys.argv[1]}.{group.rank}")
"""
SHARED_RECIPE = replace(RECIPE, shift=0, freeze_norm=False)


def without_norm() -> nn.Module:
    """BatchNorm would see other samples in each process."""
    model = JOB.build()
    for block in (model, *(module for module in model.modules() if isinstance(module, Block))):
        for name, module in list(block.named_children()):
            if isinstance(module, nn.BatchNorm2d):
                setattr(block, name, nn.Identity())
    return model


def test_two_processes_learn_what_one_learns_from_the_same_batches(tmp_path: Path) -> None:
    script, out = tmp_path / "shared.py", tmp_path / "out"
    script.write_text(SHARED)
    variables = os.environ | {
        "PYTHONPATH": str(Path(__file__).parent),
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    ended = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script), str(out)],
        env=variables, timeout=300, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    one, other = (torch.load(f"{out}.{rank}", weights_only=True) for rank in (0, 1))
    assert one[:2] == other[:2] and same(one[2], other[2])

    alone = Trainer(without_norm(), SHARED_RECIPE, TRAIN)
    type(alone).batches, original = property(lambda _: len(TRAIN) // RECIPE.batch_size), type(alone).batches
    try:
        losses = [alone.epoch().loss for _ in range(2)]
    finally:
        type(alone).batches = original
    assert one[0] == pytest.approx(losses, rel=1e-5)
    for name, value in alone.model.state_dict().items():
        torch.testing.assert_close(one[2][name], value, rtol=1e-4, atol=1e-5)
    assert one[1] == accuracy(alone.model, TEST, 3)


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    with pytest.raises(OptionError, match="a batch of 8 samples cannot be shared evenly by 3 processes"):
        Trainer(JOB.build(), RECIPE, TRAIN, group=Group(0, 3))
