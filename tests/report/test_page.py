"""The pages in a headless browser with the network off: every figure is drawn, and nothing is complained of."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cli
import numpy as np
import pytest
from browser import Seen, opened

from snn2hw.report.comparing import read_report
from snn2hw.report.document import Report
from snn2hw.report.page.network_figure import Line, places
from snn2hw.report.page.render import render

ALL = {
    "waterfall",
    "over_time",
    "network",
    "rates",
    "dead_and_saturated",
    "operations",
    "energy_totals",
    "energy_components",
    "layer_times",
    "headroom",
    "sqnr",
    "mismatch",
    "cores_loihi1",
    "cores_loihi2",
}
LARGEST = 6_000_000  # bytes of a page


@pytest.fixture(scope="module")
def reported(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two reports of the tiny net: `all`, and `unlabelled` without labels and the model."""
    folder = tmp_path_factory.mktemp("reported") / "here"
    shutil.copytree(made, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        cli.succeed("verify", "tiny.lava", "--data", "samples.npz", "--json", "verify.json")
        options = ("--verify", "verify.json", "--raster", "0", "--raster", "3")
        cli.succeed("report", "tiny.lava", "--data", "samples.npz", "-o", "all", *options)
        np.savez("unlabelled.npz", x=cli.arrays("samples.npz")["x"])
        Path("tiny.pt").unlink()
        cli.succeed("report", "tiny.lava", "--data", "unlabelled.npz", "-o", "unlabelled")
        cli.succeed("report", "--compare", "all", "unlabelled", "-o", "both")
    return folder


def figures(seen: Seen) -> dict[str, int]:
    """Every box for a figure, and how many marks Plotly drew in it."""
    marks = ".points path, .point path, .js-line, .hm image"
    script = f"""boxes => Object.fromEntries(boxes.map(box =>
        [box.dataset.figure || box.id, box.querySelectorAll(`.main-svg :is({marks})`).length]))"""
    points: dict[str, int] = seen.page.eval_on_selector_all(".plot", script)
    return points


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 400])
def test_every_figure_is_drawn_without_a_complaint(reported: Path, scheme: str, width: int) -> None:
    file = reported / "all/report.html"
    assert file.stat().st_size < LARGEST
    with opened(file, width=width, scheme=scheme) as seen:
        drawn = figures(seen)
        assert drawn.keys() == ALL | {"raster"}
        assert all(drawn.values()), drawn
        assert seen.complaints == []
        assert seen.requests == [file.resolve().as_uri()]
        assert seen.page.evaluate("document.documentElement.scrollWidth") == width
        text = seen.page.inner_text("body")
        assert "exact" in text and "not verified" not in text
        delays = [edge.delay for edge in read_report(file.parent).edges if edge.delay]
        shown = seen.page.locator("[data-figure=network] .textpoint", has_text="+").all_text_contents()
        assert sorted(int(text) for text in shown) == sorted(delays) and delays


def test_the_themes_differ_and_a_change_is_followed(reported: Path) -> None:
    colour = "getComputedStyle(document.querySelector('.xtick text')).fill"
    with opened(reported / "all/report.html") as seen:
        light = seen.page.evaluate(colour)
        seen.page.emulate_media(color_scheme="dark")
        seen.page.wait_for_function(f"{colour} != '{light}'")
        assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)"


def test_the_raster_shows_the_sample_and_layer_that_are_chosen(reported: Path) -> None:
    report = read_report(reported / "all")
    count = "document.querySelectorAll('#raster .points path').length"
    with opened(reported / "all/report.html") as seen:
        for at, raster in enumerate(report.rasters):
            for place, layer in enumerate(raster.layers):
                seen.page.select_option("#raster-sample", str(at))
                seen.page.select_option("#raster-layer", str(place))
                seen.page.wait_for_function(f"{count} == {len(layer.events)}")
        answer = seen.page.inner_text("#raster-answer")
        assert answer.startswith(f"answer {raster.answer}, label {raster.label}; {len(layer.events)} spikes of")


def test_what_is_absent_is_said_and_not_drawn(reported: Path) -> None:
    with opened(reported / "unlabelled/report.html") as seen:
        assert figures(seen).keys() == ALL - {"waterfall", "over_time", "mismatch"} | {"raster"}
        text = seen.page.inner_text("body")
        assert "the samples have no labels" in text
        assert "No float model to compare with" in text
        assert "not verified" in text
        assert seen.complaints == []


def test_a_silent_network_is_told_first_and_every_figure_still_drawn(reported: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(render(silenced(read_report(reported / "all"))))
    with opened(file) as seen:
        assert seen.page.inner_text(".alarm").startswith("No neuron fired, in any layer, step or sample.")
        assert figures(seen).keys() == ALL | {"raster"}
        assert seen.complaints == []


def silenced(report: Report) -> Report:
    """The page of a network in which nothing fires: no rate, no energy, no SQNR."""
    return replace(
        report,
        silent=True,
        activity=tuple(replace(row, rate=0.0, value=0.0, dead=row.units) for row in report.activity),
        energy=tuple(
            replace(row, total=row.total and 0.0, by_rule=dict.fromkeys(row.by_rule, 0.0), components={})
            for row in report.energy
        ),
        rasters=tuple(
            replace(raster, layers=tuple(replace(layer, events=()) for layer in raster.layers))
            for raster in report.rasters
        ),
        mismatches=tuple(replace(row, sqnr_db=None) for row in report.mismatches),
    )


def test_two_reports_stand_side_by_side_on_a_page(reported: Path) -> None:
    file = reported / "both/compare.html"
    assert file.stat().st_size < LARGEST
    with opened(file, width=400) as seen:
        drawn = figures(seen)
        absent = {"waterfall", "over_time", "mismatch"}
        sides = {f"a.{name}" for name in ALL} | {f"b.{name}" for name in ALL - absent}
        assert drawn.keys() == sides | {"rates_of_both"}
        assert all(drawn.values()), drawn
        assert seen.complaints == []


def test_the_figures_of_a_large_network_stay_in_their_tiles(reported: Path, tmp_path: Path) -> None:
    report = read_report(reported / "all")
    many = replace(report.operations, graded=16_716_194_896.0, ann_dense=11_028_499_200)
    page = tmp_path / "large.html"
    page.write_text(render(replace(report, operations=many)))
    with opened(page) as seen:
        tiles = seen.page.locator(".tile")
        assert "16.7 G" in tiles.filter(has_text="Synaptic operations").inner_text()
        wider = "tiles => tiles.filter(tile => tile.scrollWidth > tile.clientWidth).map(tile => tile.innerText)"
        assert tiles.evaluate_all(wider) == []


def test_names_are_shown_as_they_are_and_run_nothing(reported: Path, tmp_path: Path) -> None:
    evil = "</script><script>document.title='taken'</script><b>x</b>"
    report = read_report(reported / "all")
    name = report.activity[0].name
    file = tmp_path / "report.html"
    record = replace(report.reproducibility, model=evil)
    rows = tuple(replace(row, name=evil if row.name == name else row.name) for row in report.activity)
    file.write_text(render(replace(report, reproducibility=record, activity=rows)))
    with opened(file) as seen:
        assert seen.page.inner_text("h1") == evil
        assert seen.page.title() == f"snn2hw: {evil}"
        assert evil in seen.page.text_content("[data-figure=rates] .yaxislayer-above")
        assert seen.complaints == []


def test_branches_run_side_by_side() -> None:
    """A block with a layer on its shortcut, and one whose shortcut is the identity."""
    ways = [
        ("in", "a"),
        ("a", "b"),
        ("a", "down"),
        ("b", "sum"),
        ("down", "sum"),
        ("sum", "c"),
        ("c", "end"),
        ("sum", "end"),
    ]
    lines = [Line(source, target, (), 0) for source, target in ways]
    rows, columns = places(["in", "a", "b", "down", "sum", "c", "end"], lines)
    assert rows == {"in": 0, "a": 1, "b": 2, "down": 2, "sum": 3, "c": 4, "end": 5}
    assert columns == {"in": 0, "a": 0, "b": 0, "down": 1, "sum": 0, "c": 0, "end": 0}
