"""The figures of an analysis as one page that needs no network."""

from __future__ import annotations

from collections.abc import Sequence

from plotly import graph_objects as go

from snn2hw.analysis.gradients import Course
from snn2hw.analysis.identity import NEURONS, Condition
from snn2hw.analysis.rates import LayerActivity
from snn2hw.page.frame import Drawing, Section, Table, plain_page
from snn2hw.page.plots import BLUE, DASHES, PALETTE, RUST, Plot, label, layer_plot, plot

ALIKE = 1e-3  # gradients that stay within this of 1 lie on one line, which is drawn once


def page_of(conditions: Sequence[Condition], courses: Sequence[Course], activity: Sequence[LayerActivity]) -> str:
    """HTML with the conditions of identity, gradients through identities and, of a model, its layers' activity."""
    sections = [
        Section(
            name="identity",
            heading="Identity",
            text="Thresholds at which a block with the papers' start is the identity, of those that were tried.",
            tables=(_conditions(conditions),),
        ),
        Section(
            name="gradients",
            heading="Gradients through identities",
            text="Gradient at a block's input over that at the end, through 100 blocks that are the identity.",
            drawings=(Drawing(name="gradients", title="Gradient", note="logarithmic", plot=_gradients(courses)),),
        ),
    ]
    if activity:
        emitted = Drawing(name="rates", title="What the layers emit", note="a neuron and step", plot=_rates(activity))
        reaching = Drawing(
            name="layers",
            title="The gradient that reaches them",
            note="over the last layer's",
            plot=_reaching(activity),
        )
        sections.append(
            Section(
                name="layers",
                heading="A model's layers",
                text="On the samples that were given.",
                drawings=(emitted, reaching),
                tables=(_layers(activity),),
            )
        )
    return plain_page("snn2hw analyse", "When depth costs nothing, after SEW ResNet (arXiv 2102.04159).", sections)


def _conditions(conditions: Sequence[Condition]) -> Table:
    connects = dict.fromkeys(condition.connect for condition in conditions)
    return Table(
        caption="Thresholds at which a block is the identity",
        headings=("connect", *NEURONS),
        rows=[(name, *(str(c) for c in conditions if c.connect == name)) for name in connects],
        words=1 + len(NEURONS),
    )


def _gradients(courses: Sequence[Course]) -> Plot:
    lines = [
        go.Scatter(
            name=label(name),
            x=list(range(len(norms))),
            y=list(norms),
            mode="lines",
            line={"color": PALETTE[place % len(PALETTE)], "dash": DASHES[place % len(DASHES)]},
        )
        for place, (name, norms) in enumerate(_lines(courses).items())
    ]
    figure = plot(lines, height=460, x="block", y="gradient")
    figure["layout"]["yaxis"] |= {"type": "log", "exponentformat": "power"}
    return figure


def _rates(activity: Sequence[LayerActivity]) -> Plot:
    rows = [label(layer.layer) for layer in activity]
    bars = go.Bar(x=[layer.rate for layer in activity], y=rows, orientation="h", marker={"color": BLUE}, name="rate")
    names = [layer.layer for layer in activity]
    return layer_plot([bars], names, x="emitted a neuron and step", showlegend=False)


def _reaching(activity: Sequence[LayerActivity]) -> Plot:
    reached = [layer for layer in activity if layer.gradient]
    marks = go.Scatter(
        x=[layer.gradient for layer in reached],
        y=[label(layer.layer) for layer in reached],
        mode="lines+markers",
        marker={"color": RUST, "size": 9},
        name="gradient",
    )
    figure = layer_plot([marks], [layer.layer for layer in activity], x="gradient, logarithmic", showlegend=False)
    figure["layout"]["xaxis"] |= {"type": "log", "exponentformat": "power", "dtick": 1}
    return figure


def _layers(activity: Sequence[LayerActivity]) -> Table:
    return Table(
        caption="Layers",
        headings=("layer", "emitted a neuron and step", "silent neurons", "gradient over the last layer's"),
        rows=[
            (
                layer.layer,
                f"{layer.rate:.4f}",
                f"{100 * layer.silent:.1f} %",
                "" if layer.gradient is None else f"{layer.gradient:.3g}",
            )
            for layer in activity
        ],
    )


def _lines(courses: Sequence[Course]) -> dict[str, tuple[float, ...]]:
    """A line a course by its name; those that stay at 1 are one line."""
    flat = [course for course in courses if all(abs(norm - 1) < ALIKE for norm in course.norms)]
    lines = {f"{course.connect}, slope {course.alpha / 2:g}": course.norms for course in courses if course not in flat}
    if flat:
        lines[f"{', '.join(dict.fromkeys(course.connect for course in flat))}, every slope"] = flat[0].norms
    return lines
