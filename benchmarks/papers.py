"""The two papers' claims on data that is at hand: python benchmarks/papers.py [depth|deep|gates|delete|trt ...]

Each is a seeded run of at most 20 minutes on 2 cores; prints the tables of docs/papers.md and writes its part of
benchmarks/papers.json. `snn2hw analyse` has what needs no training: identity and gradients.

- depth: training loss of narrow nets of 8 to 64 blocks on digits, Spiking ResNet and SEW ResNet.
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
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from snn2hw.training import nets
from snn2hw.training.datasets import NAMED_DATASETS
from snn2hw.training.recipes import RECIPES, Recipe
from snn2hw.training.run import METHODS, Job
from snn2hw.training.trainer import Epoch, Trainer, accuracy

RESULTS = Path(__file__).with_name("papers.json")
SEEDS = (0, 1, 2)
STUDENT_T = 4.303  # two-sided 95 % with 2 degrees of freedom
DEPTHS = (8, 16, 32, 64)


def train(connect: str, config: nets.Config, recipe: Recipe, data: str, *, method: str = "plain", seed: int = 0) -> Any:
    """Train once: every epoch, and the accuracy on the test set."""
    config = config | {"timesteps": recipe.timesteps}
    job = Job(arch=nets.architecture(connect), config=config, recipe=recipe, data=data, method=method, seed=seed)
    named = NAMED_DATASETS[data]
    trainer = Trainer(job.build(), recipe, named.train(), loss=METHODS[method](), seed=seed)
    history: list[Epoch] = [trainer.epoch() for _ in range(recipe.epochs)]
    return history, accuracy(trainer.model, named.test(), recipe.timesteps)


def depth() -> list[dict[str, Any]]:
    """Loss of the last epoch against the number of blocks."""
    recipe = replace(RECIPES["digits"], epochs=6, learning_rate=2e-3, freeze_norm=False, shift=0)
    rows = []
    for connect in ("spiking", "ADD", "IAND"):
        for blocks in DEPTHS:
            history, found = train(connect, nets.narrow(connect, blocks=blocks), recipe, "digits")
            rows.append({"connect": connect, "blocks": blocks, "loss": history[-1].loss, "accuracy": found})
            show(rows[-1])
    return rows


def deep() -> list[dict[str, Any]]:
    """A net of 54 blocks, 110 layers with weights."""
    recipe = replace(RECIPES["digits"], epochs=10, learning_rate=2e-3, freeze_norm=False, shift=0)
    history, found = train("ADD", nets.narrow("ADD", blocks=54), recipe, "digits")
    rows = [{"epoch": epoch.number, "loss": epoch.loss, "accuracy": epoch.accuracy} for epoch in history]
    rows.append({"test": found})
    for row in rows:
        show(row)
    return rows


def gates() -> list[dict[str, Any]]:
    """Accuracy of each connect function on moving-digits."""
    recipe = replace(RECIPES["moving-digits"], epochs=12)
    return repeated(
        ("ADD", "IAND", "AND", "spiking", "plain"),
        lambda connect, seed: train(connect, nets.little_7b(connect), recipe, "moving-digits", seed=seed)[1],
    )


def delete() -> list[dict[str, Any]]:
    """Accuracy with all 8 steps trained, and with 6 of them drawn for each batch."""
    recipe = replace(RECIPES["moving-digits"], epochs=12)

    def run(kept: str, seed: int) -> float:
        drawn = replace(recipe, trained_timesteps=int(kept))
        found: float = train("ADD", nets.little_7b("ADD"), drawn, "moving-digits", seed=seed)[1]
        return found

    return repeated(("8", "6"), run)


def trt() -> list[dict[str, Any]]:
    """Accuracy of plain training and of temporal reversed training."""
    recipes = {
        "digits": replace(RECIPES["digits"], epochs=15),
        "moving-digits": replace(RECIPES["moving-digits"], epochs=12),
    }

    def run(what: str, seed: int) -> float:
        data, method = what.split(", ")
        config = nets.digits("ADD") if data == "digits" else nets.little_7b("ADD")
        found: float = train("ADD", config, recipes[data], data, method=method, seed=seed)[1]
        return found

    return repeated([f"{data}, {method}" for data in recipes for method in METHODS], run)


def repeated(what: Sequence[str], run: Callable[[str, int], float]) -> list[dict[str, Any]]:
    """Each thing with each seed: mean accuracy with its 95 % interval by Student's t."""
    rows = []
    for name in what:
        found = [run(name, seed) for seed in SEEDS]
        half = STUDENT_T * statistics.stdev(found) / math.sqrt(len(found))
        rows.append({"what": name, "accuracy": statistics.mean(found), "interval": half, "seeds": found})
        show(rows[-1])
    return rows


def show(row: dict[str, Any]) -> None:
    """One row as it is found."""
    print(
        ", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items())
    )
    sys.stdout.flush()


if __name__ == "__main__":
    EXPERIMENTS = {"depth": depth, "deep": deep, "gates": gates, "delete": delete, "trt": trt}
    for name in sys.argv[1:] or EXPERIMENTS:
        print(f"\n{name}: {(EXPERIMENTS[name].__doc__ or '').strip()}", flush=True)
        started = time.perf_counter()
        rows = EXPERIMENTS[name]()
        document = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        document[name] = {
            "seconds": round(time.perf_counter() - started),
            "threads": torch.get_num_threads(),
            "rows": rows,
        }
        RESULTS.write_text(json.dumps(document, indent=1) + "\n")
