"""snn2hw report: what it writes and prints, and one clear message for what it cannot do."""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import cli
import numpy as np
import pytest
from conftest import tiny_config, tiny_model

from snn2hw.models.checkpoint import save_checkpoint
from snn2hw.report.reading import read_report

OLD = Path(__file__).with_name("report_of_version_1.json.gz")  # of the tiny net, as its test folder makes it
ON_BUNDLE = ("report", "tiny.lava", "--data", "samples.npz")


def test_a_bundle_is_reported_with_its_model(tiny: Path) -> None:
    printed = cli.succeed(*ON_BUNDLE, "-o", "out")
    assert {path.name for path in Path("out").iterdir()} == {"report.html", "report.json"}
    report = read_report(Path("out"))
    assert [row.name for row in report.waterfall] == ["float", "requantised", "program"]
    assert report.mismatches and report.without_model is None
    assert report.reproducibility.command == "snn2hw report tiny.lava --data samples.npz -o out"
    assert "Accuracy on 5 samples, T=3" in printed and "Loihi 2" in printed and "no public price" in printed
    assert printed.endswith("Wrote out/report.html and out/report.json.\n")


def test_a_model_is_reported_as_its_bundle_is(tiny: Path) -> None:
    cli.succeed(*ON_BUNDLE, "-o", "bundle")
    cli.succeed("report", "tiny.pt", "--data", "samples.npz", "--calibrate", "samples.npz", "-o", "model")
    of_bundle, of_model = read_report(Path("bundle")), read_report(Path("model"))
    assert (of_model.events, of_model.waterfall) == (of_bundle.events, of_bundle.waterfall)
    records = of_model.reproducibility, of_bundle.reproducibility
    assert records[0].program_sha256 == records[1].program_sha256
    assert (records[0].bundle_sha256, records[0].calibration) == ("", records[1].calibration)


def test_two_runs_give_the_same_files(tiny: Path) -> None:
    cli.succeed(*ON_BUNDLE, "-o", "out")
    before = cli.contents(Path("out"))
    cli.succeed(*ON_BUNDLE, "-o", "out")
    assert cli.contents(Path("out")) == before


def test_a_verification_is_taken_in_and_an_alien_one_is_not(tiny: Path) -> None:
    cli.succeed("verify", "tiny.lava", "--data", "samples.npz", "--samples", "3", "--json", "verify.json")
    printed = cli.succeed(*ON_BUNDLE, "--verify", "verify.json", "-o", "out")
    assert "Verified: exact for 3 samples." in printed
    verification = read_report(Path("out")).verification
    assert verification is not None and (verification.verdict, verification.samples) == ("exact", 3)
    required = [each for each in verification.comparisons if each.exact_required]
    assert len(required) >= 2 and not any(each.mismatches for each in required)

    with np.load("samples.npz") as file:
        np.savez("other.npz", x=1 - file["x"], y=file["y"])
    other = ("report", "tiny.lava", "--data", "other.npz", "--verify", "verify.json", "-o", "no")
    assert cli.fail(*other).startswith("--verify verify.json: it is of other samples than other.npz.")
    verify = json.loads(Path("verify.json").read_text())
    for change, message in (
        ({"program_sha256": "0"}, "--verify verify.json: it is of another program than tiny.lava."),
        ({"schema": "snn2hw.verify/9"}, "--verify verify.json: not a file of snn2hw verify --json"),
        ({"verdict": "fine"}, "--verify verify.json: not a file of snn2hw verify --json"),
    ):
        Path("verify.json").write_text(json.dumps(verify | change))
        assert cli.fail(*ON_BUNDLE, "--verify", "verify.json", "-o", "no").startswith(message)
    assert "there is no such file" in cli.fail(*ON_BUNDLE, "--verify", "none.json", "-o", "no")


def test_unlabelled_samples_are_told(tiny: Path) -> None:
    np.savez("unlabelled.npz", x=cli.arrays("samples.npz")["x"])
    printed = cli.succeed("report", "tiny.lava", "--data", "unlabelled.npz", "-o", "out")
    assert "The samples have no labels: no accuracy." in printed
    assert "Accuracy" not in printed


def test_a_silent_network_is_told_first(tiny: Path) -> None:
    neuron = {"kind": "Leaky", "beta": 1.0, "threshold": 1000.0}
    save_checkpoint(Path("silent.pt"), tiny_model(neuron=neuron), "sew_resnet", tiny_config(neuron=neuron))
    printed = cli.succeed("report", "silent.pt", "--data", "samples.npz", "--calibrate", "samples.npz", "-o", "out")
    assert printed.startswith("No neuron fired, in any layer, step or sample")
    report = read_report(Path("out"))
    assert report.silent and {row.rate for row in report.activity[1:]} == {0.0}
    assert report.operations.binary == 0.0
    assert "<strong>No neuron fired</strong>" in Path("out/report.html").read_text()


NONE = '<td class="number">none</td>'


def test_that_there_is_no_break_even_is_told(tiny: Path) -> None:
    """In 40 steps the small input layer alone costs more than one dense pass of the whole ANN."""
    to_lava = ("--target", "lava", "-o", "long.lava", "--calibrate", "samples.npz", "--timesteps", "40")
    cli.succeed("export", "tiny.pt", *to_lava)
    printed = cli.succeed("report", "long.lava", "--data", "samples.npz", "-o", "out")
    assert "Break-even with the ANN, 45nm-fp32: there is none: the layer that takes the input costs more" in printed
    assert [row.break_even_rate for row in read_report(Path("out")).baselines] == [None, None]
    assert NONE in Path("out/report.html").read_text()
    printed = cli.succeed(*ON_BUNDLE, "-o", "out")
    assert "there is none" not in printed and "input spikes a synapse and step; here 0." in printed
    assert NONE not in Path("out/report.html").read_text()


def test_prices_of_ones_own_are_used(tiny: Path) -> None:
    figure = '{ value = 1.0, unit = "nJ", source = "page 1", evidence = "measured" }'
    head = 'title = "Mine"\nsource = "a"\nevidence = "b"\ngraded = "count"\nunpriced = []\n[prices]\n'
    Path("mine.toml").write_text(f"{head}synaptic_operation = {figure}\n")
    printed = cli.succeed(*ON_BUNDLE, "--prices", "mine.toml", "--profile", "truenorth", "-o", "out")
    assert "Mine" in printed and "TrueNorth" in printed and "Davies" not in printed
    Path("mine.toml").write_text(f"{head}synaptic_operation = {figure.replace('1.0', '-1.0')}\n")
    assert cli.fail(*ON_BUNDLE, "--prices", "mine.toml", "-o", "no") == (
        "mine.toml: prices.synaptic_operation: value = -1.0; give a number from 0."
    )
    Path("mine.toml").write_text(f"{head}message = {figure}\n")
    assert cli.fail(*ON_BUNDLE, "--prices", "mine.toml", "-o", "no").startswith(
        "mine.toml: prices.synaptic_operation is missing."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*ON_BUNDLE, "-o", "out", "--profile", "loihi9"), "--profile loihi9: there is no such price profile."),
        ((*ON_BUNDLE, "-o", "out", "--raster", "5"), "--raster 5: the samples go from 0 to 4."),
        ((*ON_BUNDLE, "-o", "out", "--samples", "0"), "--samples 0: at least 1 is needed."),
        ((*ON_BUNDLE, "-o", "samples.npz"), "-o samples.npz: a file stands there. Name a folder."),
        ((*ON_BUNDLE, "-o", "no/such/out"), "no/such/out: nothing can be written in no/such"),
        (ON_BUNDLE, "a report needs a bundle or model, --data DATA and -o FOLDER; or --compare A B"),
        (("report", "tiny.lava", "-o", "out"), "a report needs a bundle or model, --data DATA and -o FOLDER"),
        (("report",), "a report needs a bundle or model"),
        ((*ON_BUNDLE, "--compare", "a", "b"), "--compare A B: it takes reports and -o, no model and no data."),
        (("report", "--compare", "a", "a"), "--compare: a is named twice. Name each report once."),
        (("report", "--compare", "a"), "--compare: name two reports or more"),
        (("report", "tiny.lava", "b", "--data", "samples.npz", "-o", "out"), "b: a report is of one bundle or model."),
        ((*ON_BUNDLE, "-o", "out", "--figures", "samples.npz"), "-o samples.npz: a file stands there."),
        (("report", "--compare", "a", "b"), "--compare a: there is no a. `snn2hw report` writes one."),
        (("report", "--compare", "tiny.lava", "b"), "--compare tiny.lava: there is no report.json."),
        (
            ("report", "--compare", "tiny.lava/manifest.json", "b"),
            "--compare tiny.lava/manifest.json: this is no report of schema snn2hw.report/2 or /1 (schema:",
        ),
        (("report", "--compare", "samples.npz", "b"), "--compare samples.npz: this is no report of schema"),
    ],
)
def test_what_cannot_be_reported_is_told_and_nothing_written(
    tiny: Path, arguments: tuple[str, ...], message: str
) -> None:
    assert cli.fail(*arguments).startswith(message)


def test_reports_are_shown_side_by_side(tiny: Path) -> None:
    cli.succeed(*ON_BUNDLE, "-o", "all")
    cli.succeed(*ON_BUNDLE, "--samples", "2", "-o", "few")
    printed = cli.succeed("report", "--compare", "all", "few/report.json", "-o", "both")
    assert "Figures of all" in printed and "They are of different samples." in printed
    assert "loihi1-davies" in printed and "x 1.000" in printed
    assert [path.name for path in Path("both").iterdir()] == ["compare.html"]
    cli.succeed(*ON_BUNDLE, "--samples", "3", "-o", "elsewhere-all")
    printed = cli.succeed("report", "--compare", "all", "few", "elsewhere-all", "--tables", "compared")
    with Path("compared/trades.csv").open() as file:
        runs = {row["run"]: row for row in csv.DictReader(file)}
    assert list(runs) == ["all", "few", "elsewhere-all"]
    assert "no" in {row["beaten by another in all three"] for row in runs.values()}


def test_a_report_of_the_version_before_is_read_and_compared(tiny: Path) -> None:
    Path("old.json").write_bytes(gzip.decompress(OLD.read_bytes()))
    cli.succeed(*ON_BUNDLE, "-o", "new")
    old, new = read_report(Path("old.json")), read_report(Path("new"))
    assert old.answers is None and new.answers is not None
    assert [(each.kinds, each.cores) for each in old.mappings] == [(each.kinds, each.cores) for each in new.mappings]
    assert [mapping.cores_per_chip for mapping in old.mappings] == [each.cores_per_chip for each in new.mappings]
    assert old.events.layers[0].unit and replace(old.events.layers[0].unit, rates=()) == old.events.layers[0].unit
    assert "They are of the same program." in cli.succeed("report", "--compare", "old.json", "new", "-o", "both")


def test_figures_and_tables_are_written_for_papers(tiny: Path) -> None:
    cli.succeed(*ON_BUNDLE, "-o", "out", "--figures", "figures", "--tables", "tables")
    names = {path.stem for path in Path("figures").iterdir()}
    assert {"waterfall", "against_time", "network", "energy_components", "membranes"} <= names
    for path in Path("figures").glob("*.svg"):
        root = ElementTree.fromstring(path.read_text())
        assert root.attrib["width"] == f"{3.3 * 72:g}pt", path  # inches
        assert not root.findall(".//{*}image") and not root.findall(".//{*}text"), path  # vectors, letters and all
    for path in Path("figures").glob("*.pdf"):
        content = path.read_bytes()
        assert b"/FontFile2" in content and b"/Subtype /Type3" not in content, path
    report = read_report(Path("out"))
    with Path("tables/layers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["layer"], int(row["units"])) for row in rows] == [(row.name, row.units) for row in report.activity]
    latex = Path("tables/accuracy.tex").read_text()
    assert "\\toprule" in latex and r"\%" in latex and latex.count(r"\\") == 4
