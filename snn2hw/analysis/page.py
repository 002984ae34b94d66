"""The figures of an analysis as one page that needs no network."""

from __future__ import annotations

from collections.abc import Sequence

from plotly.subplots import make_subplots

from snn2hw.analysis.gradients import Course
from snn2hw.analysis.identity import NEURONS, Condition
from snn2hw.analysis.rates import LayerActivity

ALIKE = 1e-3  # gradients that stay within this of 1 lie on one line, which is drawn once


def page_of(conditions: Sequence[Condition], courses: Sequence[Course], activity: Sequence[LayerActivity]) -> str:
    """HTML with the conditions of identity, gradients through identities and, of a model, its layers' activity."""
    figure = make_subplots(
        rows=3 if activity else 2,
        cols=1,
        row_heights=[2.2, 3, 3] if activity else [2.2, 3],
        vertical_spacing=0.09,
        specs=[[{"type": "table"}], [{"type": "xy"}], *([[{"secondary_y": True}]] if activity else [])],
        subplot_titles=[
            "Thresholds at which a block is the identity",
            "Gradient at a block's input over that at the end, through 100 blocks that are the identity",
            *(["A model's layers: what they emit, and the gradient that reaches them"] if activity else []),
        ],
    )
    rows = list(dict.fromkeys(condition.connect for condition in conditions))
    columns = [[str(c) for c in conditions if c.neuron == neuron] for neuron in NEURONS]
    figure.add_table(header={"values": ["connect", *NEURONS]}, cells={"values": [rows, *columns]}, row=1, col=1)
    for name, norms in _lines(courses).items():
        figure.add_scatter(name=name, x=list(range(len(norms))), y=norms, row=2, col=1)
    figure.update_yaxes(type="log", exponentformat="power", title="gradient", row=2, col=1)
    figure.update_xaxes(title="block", row=2, col=1)
    if activity:
        layers = [layer.layer for layer in activity]
        figure.add_bar(name="rate", x=layers, y=[layer.rate for layer in activity], row=3, col=1)
        figure.add_scatter(
            name="gradient",
            x=[layer.layer for layer in activity if layer.gradient is not None],
            y=[layer.gradient for layer in activity if layer.gradient is not None],
            mode="lines+markers",
            secondary_y=True,
            row=3,
            col=1,
        )
        figure.update_yaxes(title="emitted a neuron and step", row=3, col=1, secondary_y=False)
        figure.update_yaxes(
            title="gradient over the last layer's", type="log", tickformat=".2g", row=3, col=1, secondary_y=True
        )
    figure.update_layout(template="plotly_white", height=1300 if activity else 900, title="snn2hw analyse")
    page: str = figure.to_html(include_plotlyjs=True, full_html=True)
    return page


def _lines(courses: Sequence[Course]) -> dict[str, tuple[float, ...]]:
    """A line a course by its name; those that stay at 1 are one line."""
    flat = [course for course in courses if all(abs(norm - 1) < ALIKE for norm in course.norms)]
    lines = {f"{course.connect}, slope {course.alpha / 2:g}": course.norms for course in courses if course not in flat}
    if flat:
        lines[f"{', '.join(dict.fromkeys(course.connect for course in flat))}, every slope"] = flat[0].norms
    return lines
