"""The pages in a headless browser with the network off: every figure is drawn, and nothing is complained of."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cli
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import Seen, opened

from snn2hw.report.document import Report
from snn2hw.report.page.network_figure import Line, places
from snn2hw.report.page.render import render
from snn2hw.report.reading import read_report

ALL = {
    "waterfall",
    "against_time",
    "margins",
    "parting",
    "network",
    "rates",
    "rate_classes",
    "membranes",
    "operations",
    "energy_totals",
    "energy_components",
    "without_spikes",
    "layer_times",
    "headroom",
    "sqnr",
    "mismatch",
}
OF_A_MODEL = {"waterfall", "margins", "parting", "mismatch"}
LARGEST = 1_500_000  # bytes of a page
SWEEP = ("sweep", "gone.pt", "--data", "samples.npz", "--calibrate", "samples.npz")
OVERFLOWING = """() => {
    const wide = document.documentElement.clientWidth;
    const inside = (box) => box.closest(".scroll") && box.closest(".scrolls");
    return [...document.querySelectorAll("main *, nav *")].filter((box) => {
        const at = box.getBoundingClientRect();
        return at.width && !inside(box) && (at.right > wide + 1 || at.left < -1);
    }).map((box) => box.outerHTML.slice(0, 120));
}"""
PAGES = ("all/report.html", "both/compare.html", "analyse.html", "sweep.html")


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
        Path("tiny.pt").rename("gone.pt")
        cli.succeed("report", "tiny.lava", "--data", "unlabelled.npz", "-o", "unlabelled")
        cli.succeed("report", "--compare", "all", "unlabelled", "-o", "both")
        cli.succeed("analyse", "--json", "analyse.json", "-o", "analyse.html")
        cli.succeed(*SWEEP, "--bits", "3,8", "--calibration", "max,mse", "-o", "sweep.html")
    return folder


def figures(seen: Seen) -> dict[str, int]:
    """Every box for a figure, and how many marks Plotly drew in it."""
    marks = ".points path, .point path, .js-line"
    script = f"""boxes => Object.fromEntries(boxes.map(box =>
        [box.dataset.figure || box.id, box.querySelectorAll(`.main-svg :is({marks})`).length]))"""
    points: dict[str, int] = seen.page.eval_on_selector_all(".plot", script)
    return points


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (420, "dark")])
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
        assert "integer-exact" in text and "PyTorch, program, lava" in text and "not verified" not in text
        assert seen.page.evaluate(OVERFLOWING) == []
        delays = [edge.delay for edge in read_report(file.parent).edges if edge.delay]
        shown = seen.page.locator("[data-figure=network] .textpoint", has_text="+").all_text_contents()
        assert sorted(int(text) for text in shown) == sorted(delays) and delays


def test_the_themes_differ_and_a_change_is_followed(reported: Path) -> None:
    colour = "getComputedStyle(document.querySelector('.xtick text')).fill"
    with opened(reported / "all/report.html") as seen:
        light = seen.page.evaluate(colour)
        seen.page.emulate_media(color_scheme="dark")
        seen.wait_until(f"{colour} != '{light}'")
        assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)"


def test_the_raster_shows_the_sample_and_layer_that_are_chosen(reported: Path) -> None:
    report = read_report(reported / "all")
    count = "document.querySelectorAll('#raster .points path').length"
    with opened(reported / "all/report.html") as seen:
        for at, raster in enumerate(report.rasters):
            for place, layer in enumerate(raster.layers):
                seen.page.select_option("#raster-sample", str(at))
                seen.page.select_option("#raster-layer", str(place))
                seen.wait_until(f"{count} == {len(layer.events)}")
        answer = seen.page.inner_text("#raster-answer")
        assert answer.startswith(f"answer {raster.answer}, label {raster.label}; {len(layer.events)} spikes of")


def test_what_is_absent_is_said_and_not_drawn(reported: Path) -> None:
    with opened(reported / "unlabelled/report.html") as seen:
        assert figures(seen).keys() == ALL - OF_A_MODEL | {"raster"}
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
    with opened(file, width=420) as seen:
        drawn = figures(seen)
        sides = {f"0.{name}" for name in ALL} | {f"1.{name}" for name in ALL - OF_A_MODEL}
        assert drawn.keys() == sides | {"rates_of_all"}
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


@pytest.mark.parametrize("name", PAGES)
def test_no_button_of_a_page_asks_the_network_or_opens_a_dialog(reported: Path, name: str) -> None:
    """Plotly's own buttons stand in every figure; the camera alone hands out a file."""
    with opened(reported / name) as seen:
        saved: list[str] = []
        seen.page.on("download", lambda download: saved.append(download.suggested_filename))
        seen.page.on("dialog", lambda dialog: seen.complaints.append(f"dialog: {dialog.message}"))
        titles = seen.page.eval_on_selector_all(
            ".modebar-btn", "buttons => buttons.map(each => each.dataset.title ?? each.getAttribute('aria-label'))"
        )
        assert titles and not [title for title in titles if "hare" in title or "loud" in title]
        seen.page.eval_on_selector_all(
            ".modebar-btn, summary, .choices select",
            "all => all.forEach(each => each.dispatchEvent(new MouseEvent('click', {bubbles: true})))",
        )
        seen.page.wait_for_timeout(500)
        assert seen.page.locator("dialog[open], [role=dialog], [role=alertdialog]").count() == 0
        assert [url for url in seen.requests if not url.startswith(("file:", "blob:", "data:"))] == []
        assert seen.complaints == [] and all(each.endswith(".svg") for each in saved)


def test_the_policy_of_a_page_forbids_what_a_script_would_send(reported: Path) -> None:
    with opened(reported / "all/report.html") as seen:
        sent = "fetch('https://example.org/').then(() => 'sent', () => 'refused')"
        assert seen.page.evaluate(sent) == "refused"
        seen.page.evaluate(
            "document.head.append(Object.assign(document.createElement('script'), {text: 'document.title = 1'}))"
        )
        assert seen.page.title() != "1"
        violated = [text for text in seen.complaints if "Content Security Policy" in text]
        assert len(violated) >= 2


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_serious_violation(reported: Path, name: str) -> None:
    with opened(reported / name, width=420) as seen:
        found = Axe().run(seen.page, options={"resultTypes": ["violations"]}).response
        serious = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
        assert [(each["id"], [node["html"][:150] for node in each["nodes"][:3]]) for each in serious] == []
        assert found["passes"]


def test_the_whole_page_prints_on_a4_and_no_figure_is_cut(reported: Path) -> None:
    with opened(reported / "all/report.html", scheme="dark") as seen:
        seen.page.emulate_media(media="print", color_scheme="dark")
        seen.page.set_viewport_size({"width": 700, "height": 990})  # an A4 sheet without its margins
        seen.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        seen.wait_until("[...document.querySelectorAll('.main-svg')].every(svg => svg.clientWidth <= 660)")
        assert seen.page.evaluate(OVERFLOWING) == []
        heights = seen.page.eval_on_selector_all("figure", "all => all.map(each => each.offsetHeight)")
        assert heights and max(heights) < 1000
        assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert seen.page.pdf(format="A4").startswith(b"%PDF")


def test_names_are_shown_as_they_are_and_run_nothing(reported: Path, tmp_path: Path) -> None:
    evil = "</script><script>document.title='taken'</script><b>x</b>"
    report = read_report(reported / "all")
    name = report.activity[0].name
    file = tmp_path / "report.html"
    record = replace(report.reproducibility, model=evil)
    rows = tuple(replace(row, name=evil if row.name == name else row.name) for row in report.activity)
    file.write_text(render(replace(report, reproducibility=record, activity=rows)))
    with opened(file) as seen:
        assert seen.page.inner_text("h1") == "b>"  # a file's name, without its folders
        assert evil in seen.page.inner_text("#reproducibility")
        assert seen.page.title() == "snn2hw: b>"
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
