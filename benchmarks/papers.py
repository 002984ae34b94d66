"""The two papers' claims on data that is at hand: python benchmarks/papers.py [EXPERIMENT ...], or --plot

Each experiment is seeded and takes at most 20 minutes on 2 cores, one training on each; it prints what
docs/papers.md says and writes its part of benchmarks/papers.json, of which --plot draws docs/papers.png.
`snn2hw analyse` has what needs no training.

- depth: training loss of narrow nets of 8 to 64 blocks on digits, Spiking ResNet and SEW ResNet.
- zero-init: the same for IAND, blocks started by chance and as the identity.
- deep: a SEW ResNet of more than 100 layers, epoch by epoch.
- gates: ADD, AND, IAND, the Spiking ResNet and the plain net on moving-digits.
- delete: random temporal delete off and on, moving-digits.
- trt: temporal reversed training off and on, digits and moving-digits.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from scipy import stats

from snn2hw.data.named import NAMED_DATASETS, Dataset, NamedDataset, moving_digits_test, moving_digits_train
from snn2hw.training import nets
from snn2hw.training.recipes import RECIPES, Recipe
from snn2hw.training.run import METHODS, Job
from snn2hw.training.trainer import Epoch, Trainer, accuracy

RESULTS = Path(__file__).with_name("papers.json")
SEEDS = (0, 1, 2)
DEPTHS = (8, 16, 32, 64)


NARROW = replace(RECIPES["digits"], epochs=6, learning_rate=2e-3, freeze_norm=False, shift=0)
MOVING = replace(RECIPES["moving-digits"], epochs=12)

Row = dict[str, Any]
Result = tuple[list[Epoch], float]
"""Of a training: every epoch, and the accuracy on the test set."""


def either_way(data: Dataset) -> Dataset:
    """moving-digits without the sense of a direction: a movement and its reverse are of one class of 6."""
    return replace(data, y=data.y // 6 * 3 + data.y % 3)


SETS = NAMED_DATASETS | {
    "moving-digits either way": NamedDataset(
        train=lambda: either_way(moving_digits_train()), test=lambda: either_way(moving_digits_test())
    )
}


@dataclass(frozen=True)
class Training:
    """A net to be trained once on one of SETS; `what` is its name in the table."""

    what: str
    connect: str
    config: nets.Config
    recipe: Recipe
    data: str
    method: str = "plain"
    seed: int = 0

    def run(self) -> Result:
        """Train on one thread, then measure."""
        torch.set_num_threads(1)
        config = self.config | {"timesteps": self.recipe.timesteps}
        job = Job(
            arch=nets.architecture(self.connect),
            config=config,
            recipe=self.recipe,
            data=self.data,
            method=self.method,
            seed=self.seed,
        )
        named = SETS[self.data]
        trainer = Trainer(job.build(), self.recipe, named.train(), loss=METHODS[self.method](), seed=self.seed)
        history = [trainer.epoch() for _ in range(self.recipe.epochs)]
        return history, accuracy(trainer.model, named.test(), self.recipe.timesteps)


def depth() -> list[Row]:
    """Loss of the last epoch against the number of blocks."""
    return by_depth([("spiking", "spiking", NARROW), ("ADD", "ADD", NARROW)])


def zero_init() -> list[Row]:
    """The same for IAND, whose blocks let less of their shortcut through the more they spike."""
    return by_depth([("IAND", "IAND", NARROW), ("IAND, zero-init", "IAND", replace(NARROW, zero_init=True))])


def by_depth(cases: Sequence[tuple[str, str, Recipe]]) -> list[Row]:
    """Loss of the last epoch of each case, a name, a connect function and a recipe, with nets of each depth."""
    trainings = [
        Training(what, connect, nets.narrow(connect, blocks=blocks), recipe, "digits")
        for what, connect, recipe in cases
        for blocks in DEPTHS
    ]
    rows = []
    for training, results in with_seeds(trainings):
        loss, interval = mean([history[-1].loss for history, _ in results])
        accuracy_reached, _ = mean([accuracy for _, accuracy in results])
        blocks = training.config["stages"][0]["blocks"]
        row = {
            "what": training.what,
            "blocks": blocks,
            "loss": loss,
            "interval": interval,
            "accuracy": accuracy_reached,
        }
        rows.append(row)
        show(row)
    return rows


def deep() -> list[Row]:
    """A net of 54 blocks, 110 layers with weights."""
    recipe = replace(NARROW, epochs=10)
    history, tested = Training("ADD", "ADD", nets.narrow("ADD", blocks=54), recipe, "digits").run()
    rows: list[Row] = [{"epoch": epoch.number, "loss": epoch.loss, "accuracy": epoch.accuracy} for epoch in history]
    rows.append({"test": tested})
    for row in rows:
        show(row)
    return rows


def gates() -> list[Row]:
    """Accuracy of each connect function on moving-digits; of those that can, also started as the identity."""
    zero = replace(MOVING, zero_init=True)
    return repeated(
        Training(what, connect, nets.little_7b(connect), recipe, "moving-digits")
        for what, connect, recipe in (
            *((connect, connect, MOVING) for connect in ("ADD", "IAND", "AND", "spiking", "plain")),
            *((f"{connect}, zero-init", connect, zero) for connect in ("ADD", "IAND", "AND", "spiking")),
        )
    )


def delete() -> list[Row]:
    """Accuracy with all 8 steps trained, and with 6 or 4 of them drawn for each batch."""
    net = nets.little_7b("ADD")
    return repeated(
        Training(f"{count} of 8 steps", "ADD", net, replace(MOVING, trained_timesteps=count), "moving-digits")
        for count in (8, 6, 4)
    )


def trt() -> list[Row]:
    """Accuracy of plain training and of temporal reversed training."""
    cases = {
        "digits": (nets.digits("ADD"), replace(RECIPES["digits"], epochs=15)),
        "moving-digits": (nets.little_7b("ADD"), MOVING),
        "moving-digits either way": (nets.little_7b("ADD", classes=6), MOVING),
    }
    return repeated(
        Training(f"{data}, {method}", "ADD", net, recipe, data, method=method)
        for data, (net, recipe) in cases.items()
        for method in METHODS
    )


def repeated(cases: Iterable[Training]) -> list[Row]:
    """Accuracy of each training over the seeds."""
    rows = []
    for case, results in with_seeds(list(cases)):
        accuracies = [accuracy for _, accuracy in results]
        average, interval = mean(accuracies)
        rows.append({"what": case.what, "accuracy": average, "interval": interval, "seeds": accuracies})
        show(rows[-1])
    return rows


def with_seeds(trainings: Sequence[Training]) -> Iterator[tuple[Training, list[Result]]]:
    """Each training with its results for all seeds, two trainings at a time."""
    every = [replace(training, seed=seed) for training in trainings for seed in SEEDS]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        results = pool.map(Training.run, every)
        for training in trainings:
            yield training, list(islice(results, len(SEEDS)))


def mean(values: Sequence[float]) -> tuple[float, float]:
    """The mean with half the width of its 95 % interval by Student's t."""
    return statistics.mean(values), float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))


def plot(file: Path) -> None:
    """Draw the results: loss against depth, and accuracies with their intervals."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    results = {name: part["rows"] for name, part in json.loads(RESULTS.read_text()).items()}
    figure, (losses, *others) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for what in dict.fromkeys(row["what"] for row in (*results["depth"], *results["zero-init"])):
        rows = [row for row in (*results["depth"], *results["zero-init"]) if row["what"] == what]
        columns = ([row[key] for row in rows] for key in ("blocks", "loss", "interval"))
        losses.errorbar(*columns, marker="o", capsize=3, label=what)
    losses.axhline(math.log(10), color="grey", linewidth=0.8, linestyle=":", label="guessing")
    losses.set(xlabel="blocks", ylabel="training loss", ylim=(0, None), title="Depth, digits")
    losses.set_xticks(DEPTHS)
    losses.legend(fontsize=8, loc="center right", bbox_to_anchor=(1, 0.6))
    for axis, name, title in zip(others, ("gates", "trt"), ("Gates, moving-digits", "TRT"), strict=True):
        rows = results[name][::-1]
        values = [100 * row["accuracy"] for row in rows]
        axis.barh(
            [row["what"].replace("digits either way, ", "digits\neither way, ") for row in rows],
            values,
            xerr=[100 * row["interval"] for row in rows],
            capsize=3,
        )
        axis.set(xlabel="accuracy on the test set in %", xlim=(0, 100), title=title)
        axis.tick_params(axis="y", labelsize=8)
    figure.savefig(file, dpi=110)


def show(row: Row) -> None:
    """Show one row at once."""
    print(
        ", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items())
    )
    sys.stdout.flush()


EXPERIMENTS = {"depth": depth, "zero-init": zero_init, "deep": deep, "gates": gates, "delete": delete, "trt": trt}


def main(names: Sequence[str]) -> None:
    """Run experiments, print what they find, and write it down."""
    for name in names:
        print(f"\n{name}: {(EXPERIMENTS[name].__doc__ or '').strip()}", flush=True)
        started = time.perf_counter()
        rows = EXPERIMENTS[name]()
        document = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        document[name] = {"seconds": round(time.perf_counter() - started), "rows": rows}
        RESULTS.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["--plot"]:
        plot(Path(__file__).resolve().parents[1] / "docs" / "papers.png")
    else:
        main(sys.argv[1:] or list(EXPERIMENTS))
