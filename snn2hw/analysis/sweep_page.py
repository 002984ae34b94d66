"""The curve of accuracy against bits as a page: it needs no network, and shows every number on a touch."""

from __future__ import annotations

from plotly import graph_objects

from snn2hw.analysis.sweep import Sweep
from snn2hw.data.intervals import wilson
from snn2hw.page.frame import Drawing, Section, Table, plain_page
from snn2hw.page.plots import DASHES, GREY, PALETTE, Plot, plot
from snn2hw.page.quantity import percent, points


def page_of(sweep: Sweep) -> str:
    """HTML with one line a calibration method, each point with its 95 % interval, and the float model beside them."""
    level = sweep.accuracy(sweep.float_correct)
    section = Section(
        name="bits",
        heading="Accuracy against bits",
        text=f"The float model has {percent(level)}. Bars are 95 % intervals (Wilson).",
        drawings=(
            Drawing(name="bits", title="Accuracy", note="the dashed line is the float model", plot=_curve(sweep)),
        ),
        tables=(_table(sweep),),
    )
    lead = f"Accuracy on {sweep.samples} samples of {sweep.data}, T={sweep.timesteps}"
    return plain_page(f"snn2hw sweep: {sweep.model.rsplit('/', 1)[-1]}", lead, (section,))


def _curve(sweep: Sweep) -> Plot:
    lines = []
    for place, method in enumerate(sweep.methods):
        ran = [(p.weight_bits, p.correct) for p in sweep.points if p.method == method and p.correct is not None]
        intervals = [wilson(correct, sweep.samples) for _, correct in ran]
        shares = [sweep.accuracy(correct) for _, correct in ran]
        shift = 0.06 * (place - (len(sweep.methods) - 1) / 2)  # so that intervals of one number of bits stay apart
        lines.append(
            graph_objects.Scatter(
                name=method,
                mode="lines+markers",
                x=[bits + shift for bits, _ in ran],
                y=[100 * share for share in shares],
                error_y={
                    "type": "data",
                    "array": [100 * (high - share) for share, (_, high) in zip(shares, intervals, strict=True)],
                    "arrayminus": [100 * (share - low) for share, (low, _) in zip(shares, intervals, strict=True)],
                    "thickness": 1,
                },
                line={"color": PALETTE[place % len(PALETTE)], "dash": DASHES[place % len(DASHES)]},
                customdata=[(bits, correct, sweep.lost(correct)) for bits, correct in ran],
                hovertemplate="%{customdata[0]} bits: %{y:.2f} %, %{customdata[1]} right, "
                "%{customdata[2]:.2f} points lost",
            )
        )
    figure = plot(lines, height=460, x="weight bits", y="accuracy, %")
    level = 100 * sweep.accuracy(sweep.float_correct)
    figure["layout"]["shapes"] = [
        {
            "type": "line",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": level,
            "y1": level,
            "line": {"color": GREY, "dash": "dash"},
        }
    ]
    figure["layout"]["xaxis"] |= {"tickmode": "array", "tickvals": list(sweep.bits)}
    return figure


def _table(sweep: Sweep) -> Table:
    return Table(
        caption="Every program",
        headings=("calibration", "weight bits", "right", "accuracy", "95 % interval", "against the float model"),
        rows=[
            (
                point.method,
                f"{point.weight_bits}",
                *(
                    (f"refused: {point.refused}", "", "", "")
                    if point.correct is None
                    else (
                        f"{point.correct}",
                        percent(sweep.accuracy(point.correct)),
                        " to ".join(map(percent, wilson(point.correct, sweep.samples))),
                        points(-sweep.lost(point.correct) / 100),
                    )
                ),
            )
            for point in sweep.points
        ],
    )
