"""report.json: of the shipped schema, the same from batches of any size, and honest where parts are missing."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from nets import NEURONS, compile_model, random_samples, residual_net
from pydantic import TypeAdapter

from snn2hw.data.load import load_samples
from snn2hw.data.samples import Samples
from snn2hw.errors import OptionError
from snn2hw.exporters.bundle import read_bundle
from snn2hw.report import document
from snn2hw.report.comparing import side_by_side
from snn2hw.report.document import Report, make_report
from snn2hw.report.network import InputCounter, approximations
from snn2hw.report.prices import load_profiles
from snn2hw.report.reading import read_report
from snn2hw.report.shares import rated
from snn2hw.report.subject import of_bundle

SCHEMA = Path(document.__file__).with_name("report.schema.json")
UPDATE = "SNN2HW_UPDATE_GOLDEN"  # set to 1, the test writes the schema instead of comparing


def samples() -> Samples:
    return load_samples("samples.npz", (1, 6, 6))


def report_on(data: Samples, **options: Any) -> Report:
    """A report on the bundle of the current folder, without the model."""
    return make_report(
        of_bundle(read_bundle(Path("tiny.lava"))),
        data,
        None,
        profiles=load_profiles(()),
        missing_model="its file is not there",
        **options,
    )


def schema() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(SCHEMA.read_text())
    return document


def test_the_shipped_schema_is_that_of_the_report() -> None:
    expected = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    expected |= TypeAdapter(Report).json_schema(mode="serialization")
    if os.environ.get(UPDATE):
        SCHEMA.write_text(json.dumps(expected, indent=1) + "\n")
    assert schema() == expected
    jsonschema.Draft202012Validator.check_schema(expected)


def test_a_report_is_of_the_schema_and_reads_back_as_it_was(tiny: Path) -> None:
    report = report_on(samples())
    text = report.to_json()
    jsonschema.Draft202012Validator(schema()).validate(json.loads(text))
    (tiny / "report.json").write_text(text)
    assert read_report(tiny).to_json() == text
    assert report_on(samples()).to_json() == text


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.pop("events"),
        lambda document: document.update(schema="snn2hw.report/9"),
        lambda document: document["events"].update(samples="five"),
        lambda document: document["energy"][0].update(rule="guess"),
        lambda document: document["activity"][0].pop("dead"),
    ],
)
def test_what_is_no_report_does_not_pass(tiny: Path, change: Any) -> None:
    document = json.loads(report_on(samples()).to_json())
    change(document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate(document)
    (tiny / "report.json").write_text(json.dumps(document))
    with pytest.raises(OptionError, match=r"no report of schema snn2hw\.report/2"):
        read_report(tiny)


def test_the_wilson_interval_is_that_of_the_textbook() -> None:
    """Agresti and Coull 1998 give 0 of 10: 0 to 0.278."""
    accuracy = rated("program", 0, 10)
    assert accuracy.interval[0] == 0.0 and accuracy.interval[1] == pytest.approx(0.2775, abs=1e-4)
    half = rated("program", 50, 100)
    assert half.interval == pytest.approx((0.4038, 0.5962), abs=1e-4)


def test_unlabelled_samples_give_no_accuracy_and_say_so(tiny: Path) -> None:
    report = report_on(replace(samples(), y=None))
    assert (report.waterfall, report.over_time) == ((), ())
    assert report.unlabelled == "the samples have no labels, so nothing is said of accuracy"
    assert report.rasters[0].label is None
    assert report.events == report_on(samples()).events


def test_without_the_model_only_the_program_is_judged(tiny: Path) -> None:
    report = report_on(samples())
    assert [row.name for row in report.waterfall] == ["program"]
    assert (report.without_model, report.mismatches) == ("its file is not there", ())
    assert report.footprint.model_bytes is None


@pytest.mark.parametrize(
    ("chip", "numbers"),
    [
        ("loihi2", "thresholds are whole numbers, biases a mantissa and an exponent"),
        ("generic-int8", "thresholds and biases are whole numbers"),
    ],
)
def test_approximations_name_the_chip_that_makes_them(chip: str, numbers: str) -> None:
    model = residual_net("ADD", NEURONS["leaky-subtract"])
    _, program = compile_model(model, random_samples(2), timesteps=2, chip=chip)
    rows = approximations(program, InputCounter(program.graph.input))
    rule, formats = f"the rule of {chip}", f"the formats of {chip}"
    assert [(row.what, row.reason) for row in rows if row.where == "2" and "calibration" not in row.what] == [
        ("leak of 819/4096, truncated towards 0 each step", rule),
        (numbers, formats),
        ("what a spike subtracts is a whole number", formats),
    ]
    assert not any("Loihi" in row.what + row.reason for row in rows)


def test_accuracy_at_the_last_step_is_that_of_the_program(tiny: Path) -> None:
    report = report_on(samples())
    assert report.over_time[-1].correct == report.waterfall[-1].correct


def test_rasters_hold_the_spikes_of_the_samples_that_were_asked_for(tiny: Path) -> None:
    data = samples()
    report = report_on(data, raster_samples=(3, 1, 3))
    assert [raster.sample for raster in report.rasters] == [3, 1]
    single = report_on(data[3:4])
    by_name = {row.name: row for row in single.activity}
    for layer in report.rasters[0].layers:
        assert len(layer.neurons) == layer.size <= 128
        assert len(layer.events) == sum(single.events[layer.name].unit.spikes) and layer.name in by_name  # type: ignore[union-attr]


@pytest.mark.parametrize("number", [-1, 5])
def test_a_sample_that_is_not_there_is_refused(tiny: Path, number: int) -> None:
    with pytest.raises(OptionError, match=f"--raster {number}: the samples go from 0 to 4"):
        report_on(samples(), raster_samples=(number,))


def test_a_report_on_no_sample_is_refused(tiny: Path) -> None:
    with pytest.raises(OptionError, match="there are no samples"):
        report_on(samples()[:0])


def test_side_by_side_shows_what_changed(tiny: Path) -> None:
    one, other = report_on(samples()), report_on(samples()[:2])
    comparison = side_by_side((one, other), ("one", "other"))
    rows = {row.name: row for row in comparison.rows}
    assert rows["samples"].values == ("5", "2")
    assert rows["cycles, one sample alone"].changes == ("x 1.000",)
    ratio = other.operations.graded_by_value / one.operations.graded_by_value
    assert rows["synaptic operations, graded by value"].changes == (f"x {ratio:.3f}",) != ("x 1.000",)
    assert "energy, loihi2" not in rows and "energy, loihi1-davies" in rows
    assert comparison.notes == ("They are of different samples.", "They are of the same program.")
    assert [layer.rates for layer in comparison.layers] == [
        (a.rate, b.rate) for a, b in zip(one.activity, other.activity, strict=True)
    ]


def test_a_run_that_another_beats_in_everything_is_off_the_front(tiny: Path) -> None:
    one = report_on(samples())
    dearer = replace(one, energy=tuple(replace(row, total=row.total and 2 * row.total) for row in one.energy))
    right = replace(one.waterfall[-1], accuracy=1.0)
    trades = side_by_side((one, dearer, replace(dearer, waterfall=(right,))), ("a", "b", "c")).trades
    assert [trade.front for trade in trades] == [True, False, True]


def test_every_sample_shown_twice_doubles_the_counts_and_nothing_else(tiny: Path) -> None:
    data = samples()
    assert data.y is not None
    twice = Samples(np.concatenate([data.x] * 2), np.concatenate([data.y] * 2), data.per_step, name=data.name)
    one, both = report_on(data), report_on(twice)
    assert (one.activity, one.operations, one.footprint) == (both.activity, both.operations, both.footprint)
    assert one.energy == both.energy
    assert both.waterfall[-1].correct == 2 * one.waterfall[-1].correct
    for a, b in zip(one.events.layers, both.events.layers, strict=True):
        if a.synapses and b.synapses:
            assert b.synapses.operations == tuple(2 * count for count in a.synapses.operations)
