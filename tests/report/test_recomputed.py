"""Numbers of report.json, computed again from spikes.npz with plain numpy."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cli
import numpy as np
import pytest

from snn2hw.exporters.bundle import read_bundle
from snn2hw.ir.nodes import Neuron
from snn2hw.report.document import Report
from snn2hw.report.reading import read_report

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def given(made: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Arrays, np.ndarray, Path]:
    """A report of the tiny net, its spikes, the labels, and its bundle."""
    folder = tmp_path_factory.mktemp("recomputed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        cli.succeed("report", "tiny.lava", "--data", "samples.npz", "-o", folder / "out")
        cli.succeed("simulate", "tiny.lava", "--data", "samples.npz", "-o", folder / "spikes.npz")
        labels = cli.arrays("samples.npz")["y"]
    with np.load(folder / "spikes.npz") as file:
        return read_report(folder / "out"), dict(file), labels, made / "tiny.lava"


def test_answers_and_confusion_are_those_of_the_logits(given: tuple[Report, Arrays, np.ndarray, Path]) -> None:
    report, spikes, labels, _ = given
    answers = spikes["logits"].argmax(axis=1)
    assert report.answers is not None and report.answers.program == tuple(answers)
    counts = np.zeros((4, 4), np.int64)
    np.add.at(counts, (labels, answers), 1)
    assert {(p.label, p.answer): p.samples for p in report.confusion} == {
        (int(a), int(b)): int(counts[a, b]) for a, b in np.argwhere(counts)
    }
    assert {row.name: (row.correct, row.n) for row in report.classes} == {
        str(label): (counts[label, label], counts[label].sum()) for label in np.unique(labels)
    }
    assert report.waterfall[-1].correct == (answers == labels).sum() == counts.trace()


def test_margins_are_those_of_the_float_models_answer(given: tuple[Report, Arrays, np.ndarray, Path]) -> None:
    report, spikes, _, _ = given
    assert report.answers is not None
    for at, (answer, margin) in enumerate(zip(report.answers.float_model, report.answers.program_margins, strict=True)):
        others = np.delete(spikes["logits"][at], answer)
        assert margin == spikes["logits"][at, answer] - others.max()
        assert (margin < 0) <= (report.answers.program[at] != answer)
    assert min(report.answers.float_margins) >= 0


def test_the_paired_interval_is_that_of_half_a_sample_more_in_each_cell(
    given: tuple[Report, Arrays, np.ndarray, Path],
) -> None:
    report, spikes, labels, _ = given
    assert report.answers is not None and report.paired is not None and report.paired.interval is not None
    mine = spikes["logits"].argmax(axis=1) == labels
    theirs = np.array(report.answers.float_model) == labels
    values = np.concatenate([mine.astype(float) - theirs, [1, -1, 0, 0]])
    weights = np.concatenate([np.ones(len(labels)), [0.5] * 4])
    n = len(labels) + 2
    mean = (weights * values).sum() / n
    half = 1.959963984540054 * np.sqrt((weights * (values - mean) ** 2).sum()) / n
    assert report.paired.interval == pytest.approx((max(-1, mean - half), min(1, mean + half)))
    assert report.paired.difference == pytest.approx(mine.mean() - theirs.mean())
    assert report.paired.changed == (spikes["logits"].argmax(axis=1) != report.answers.float_model).sum()


def test_rates_are_those_of_the_spikes(given: tuple[Report, Arrays, np.ndarray, Path]) -> None:
    report, spikes, _, _ = given
    for row in report.activity[1:]:  # the input comes first
        fired = spikes[row.name] != 0
        assert row.rate == pytest.approx(fired.mean(), rel=1e-12)
        units = fired.reshape(-1, *fired.shape[2:]).mean(axis=0).reshape(-1)
        inner = units[(units > 0) & (units < 1)]
        edges = [0, 0.01, 0.05, 0.2, 0.5, 1]
        classes = [int(((inner > low) & (inner <= high)).sum()) for low, high in pairwise(edges)]
        assert row.rates == ((units == 0).sum(), *classes, (units == 1).sum())


def test_membranes_above_their_threshold_are_the_spikes(given: tuple[Report, Arrays, np.ndarray, Path]) -> None:
    """The tiny layers are counted whole, and all five samples of them."""
    report, spikes, _, bundle = given
    assert report.membranes is not None and report.membranes.samples == 5
    names = [node.name for node in read_bundle(bundle).program.graph if isinstance(node, Neuron)]
    assert [layer.name for layer in report.membranes.layers] == names
    for layer in report.membranes.layers:
        above = sum(layer.counts[report.membranes.edges.index(1.0) + 1 :])
        assert above == np.count_nonzero(spikes[layer.name]) > 0
        assert sum(layer.counts) == spikes[layer.name].size


def test_energy_is_events_times_prices_and_grows_by_the_step(given: tuple[Report, Arrays, np.ndarray, Path]) -> None:
    report, _, _, _ = given
    davies = next(profile for profile in report.profiles if profile.name == "loihi1-davies")
    energy = next(row for row in report.energy if row.profile == davies.name)
    active = sum(sum(layer.unit.active) for layer in report.events.layers if layer.unit and layer.kind != "merge")
    expected = active * davies.prices["neuron_active"].value * 1e-12 / report.samples
    assert energy.components["neuron_active"] == pytest.approx(expected, rel=1e-9)
    assert energy.total == pytest.approx(sum(energy.components.values()), rel=1e-12)
    by_step = [row.energy[davies.name] for row in report.early_exits]
    assert by_step == sorted(by_step)
    assert by_step[-1] == pytest.approx((energy.total or 0) - energy.components["hops"], rel=1e-9)
    assert [row.cycles for row in report.early_exits] == [report.latency.depth + step for step in (1, 2, 3)]
    assert report.early_exits[-1].settled == report.samples
    times = next(row for row in report.latency.steps if row.profile == davies.name)
    speed = next(row for row in report.efficiency if row.profile == davies.name)
    assert speed.samples_per_second == pytest.approx((1 / times.pipelined[1], 1 / times.pipelined[0]))
    assert speed.energy_delay == pytest.approx([(energy.total or 0) * delay for delay in times.one_shot])


def test_a_sample_parts_from_the_float_model_in_one_layer_at_most(
    given: tuple[Report, Arrays, np.ndarray, Path],
) -> None:
    report, _, _, _ = given
    firsts = [row.first for row in report.mismatches]
    assert sum(first or 0 for first in firsts) <= report.samples
    assert all(row.different >= (row.first or 0) for row in report.mismatches)
    assert any(row.different for row in report.mismatches) == any(firsts)


def test_the_headline_is_the_profile_that_was_asked_for_or_says_why_not(
    given: tuple[Report, Arrays, np.ndarray, Path],
) -> None:
    report, _, _, _ = given
    assert report.headline is not None and report.headline.profile == "loihi1-davies"
    assert report.headline.reason.startswith("there is no public price for Loihi 2, the program's chip")
