"""The curve of accuracy against bits as a page: it needs no network, and shows every number on a touch."""

from __future__ import annotations

from plotly import graph_objects

from snn2hw.analysis.sweep import Sweep


def page_of(sweep: Sweep) -> str:
    """HTML with one line a calibration method, and the float model's accuracy as a dashed one."""
    figure = graph_objects.Figure()
    for method in sweep.methods:
        ran = [(p.weight_bits, p.correct) for p in sweep.points if p.method == method and p.correct is not None]
        figure.add_scatter(
            name=method,
            mode="lines+markers",
            x=[bits for bits, _ in ran],
            y=[100 * sweep.accuracy(correct) for _, correct in ran],
            customdata=[(correct, sweep.lost(correct)) for _, correct in ran],
            hovertemplate="%{x} bits: %{y:.2f} %, %{customdata[0]} right, %{customdata[1]:.2f} points lost",
        )
    level = 100 * sweep.accuracy(sweep.float_correct)
    figure.add_hline(y=level, line_dash="dash", annotation_text=f"float {level:.2f} %")
    figure.update_layout(
        title=f"{sweep.model}: accuracy on {sweep.samples} samples of {sweep.data}, T={sweep.timesteps}",
        xaxis={"title": "weight bits", "tickmode": "array", "tickvals": list(sweep.bits)},
        yaxis={"title": "accuracy in %"},
        legend={"title": "calibration"},
        template="plotly_white",
    )
    page: str = figure.to_html(include_plotlyjs=True, full_html=True)
    return page
