"""Does temporal reversed training help? The same net with and without it, over several seeds, both deployed and priced.

    python examples/trt_against_plain.py digits
    python examples/trt_against_plain.py moving-digits

Three minutes for digits and ten for moving-digits on one core: 15 epochs, 3 seeds. What it wrote stays in the folder
`trt-DATA`. Other numbers of epochs and seeds, and another folder, are named behind the data. Temporal reversed training
sees each batch in both orders, so an epoch of it costs twice as much.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from demo import run
from rich.console import Console
from rich.table import Table
from scipy import stats

from snn2hw.report.document import Report
from snn2hw.report.reading import read_report

CONNECT = "ADD"
METHODS = ("plain", "trt")
SAMPLES = "40"  # to verify in Lava


def deployed(data: str, method: str, epochs: int, seed: int, folder: Path) -> Report:
    """Train, export, verify and report one net."""
    name = str(folder / f"{method}-{seed}")
    model, bundle = f"{name}.pt", f"{name}.lava"
    how = ("--connect", CONNECT, "--method", method, "--epochs", str(epochs), "--seed", str(seed))
    run("train", data, *how, "-o", model)
    run("export", model, "--target", "lava", "-o", bundle)
    run("verify", bundle, "--data", data, "--samples", SAMPLES, "--saturate", "--json", f"{name}.json")
    run("report", bundle, "--data", data, "--verify", f"{name}.json", "-o", name)
    return read_report(Path(name))


def show(reports: dict[str, list[Report]]) -> None:
    """Accuracy of the integers that are deployed, and how often a neuron fires: means over the seeds."""
    table = Table("method", "accuracy", "firing rate", title="Over the seeds, mean and 95 % interval (Student's t)")
    for method, runs in reports.items():
        accuracies = [100 * row.accuracy for report in runs for row in report.waterfall if row.name == "program"]
        rates = [100 * (1 - report.footprint.activation_sparsity) for report in runs]
        table.add_row(method, f"{mean(accuracies)} %", f"{mean(rates)} %")
    Console().print(table)


def mean(values: list[float]) -> str:
    """Mean and half the width of its interval; one value has none."""
    if len(values) == 1:
        return f"{values[0]:.1f}"
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return f"{np.mean(values):.1f} ± {half:.1f}"


def main(data: str, epochs: int, seeds: int, folder: Path) -> None:
    """Every net of both methods, then the first two side by side, then all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    reports = {method: [deployed(data, method, epochs, seed, folder) for seed in range(seeds)] for method in METHODS}
    run("report", "--compare", *(str(folder / f"{method}-0") for method in METHODS), "-o", str(folder / "compared"))
    show(reports)


if __name__ == "__main__":
    data, epochs, seeds, *folder = [*sys.argv[1:], *("digits", "15", "3")[len(sys.argv) - 1 :]]
    main(data, int(epochs), int(seeds), Path(*folder or [f"trt-{data}"]))
