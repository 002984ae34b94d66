"""The tables of what a sample costs: operations, energy, time and cores."""

from __future__ import annotations

from snn2hw.page.frame import Table
from snn2hw.page.quantity import count, percent, quantity, span
from snn2hw.report.document import Report
from snn2hw.report.mapping import Mapping


def operations(report: Report) -> Table:
    """Operations of a sample, by what arrives."""
    counts = report.operations
    named = {
        "binary spikes": counts.binary,
        "graded spikes, by count": counts.graded,
        "the network's input": counts.input,
        "together": counts.binary + counts.graded + counts.input,
        "together, on weights that are not zero": counts.nonzero_weights,
        "graded spikes, by value instead": counts.graded_by_value,
        "gates and pools": counts.gates_and_pools,
        "biases": counts.bias,
        "one dense pass of the ANN": counts.ann_dense,
        "one dense pass, zeros of padding counted too": counts.ann_dense_with_padding,
    }
    return Table(
        caption="Operations of a sample",
        headings=("arriving", "operations"),
        rows=[(name, count(value)) for name, value in named.items()],
    )


def footprint(report: Report) -> Table:
    """Memory and sparsities."""
    memory = report.footprint
    model = [] if memory.model_bytes is None else [("float model", f"{memory.model_bytes:,} bytes")]
    return Table(
        caption="Footprint",
        headings=("of", "size"),
        rows=[
            ("integer weights", f"{memory.program_weight_bytes:,} bytes"),
            *model,
            ("weights that are zero", f"{100 * memory.connection_sparsity:.2f} %"),
            ("silent neurons and steps", f"{100 * memory.activation_sparsity:.2f} %"),
        ],
    )


def neurobench(report: Report) -> Table:
    """The counts under NeuroBench's names."""
    metrics = {} if report.neurobench is None else vars(report.neurobench)
    return Table(
        caption="Under NeuroBench's names",
        headings=("metric", "value"),
        rows=[
            (name, f"{value:,.6g}" if isinstance(value, float) else f"{value:,}")
            for name, value in metrics.items()
            if value is not None
        ],
    )


def energy(report: Report) -> Table:
    """Totals of every profile, under each rule of counting."""
    titles = {profile.name: profile for profile in report.profiles}
    speeds = {row.profile: row for row in report.efficiency}
    rows: list[tuple[str, ...]] = []
    for row in report.energy:
        profile, speed = titles[row.profile], speeds.get(row.profile)
        if row.total is None:
            rows.append((profile.title, "", profile.evidence, "no public price", "", "", "", ""))
            continue
        by_rule = [quantity(row.by_rule[rule], "J") for rule in ("count", "value", "dense")]
        product = "" if speed is None or speed.energy_delay is None else span(*speed.energy_delay, "J s")
        rows.append((profile.title, f"by {row.rule}", profile.evidence, quantity(row.total, "J"), *by_rule, product))
    return Table(
        caption="Energy of a sample",
        headings=("prices", "graded spikes", "evidence", "a sample", "by count", "by value", "dense", "energy x delay"),
        rows=rows,
        words=3,
    )


def baselines(report: Report) -> Table:
    """The ANN twin under each arithmetic."""
    return Table(
        caption="Without spikes",
        headings=("arithmetic", "ANN, one dense pass", "this network's operations", "break-even rate", "rate here"),
        rows=[
            (
                row.profile,
                quantity(row.ann, "J"),
                quantity(row.spiking, "J"),
                "none" if row.break_even_rate is None and row.rate is not None else _rate(row.break_even_rate),
                _rate(row.rate),
            )
            for row in report.baselines
        ],
    )


def prices(report: Report) -> Table:
    """Every figure of every profile."""
    return Table(
        caption="Every price with its source",
        headings=("prices", "of", "value", "source", "evidence"),
        rows=[
            (profile.title, name, f"{figure.value:g} {figure.unit}", figure.source, figure.evidence)
            for profile in report.profiles
            for figures in (profile.prices, profile.times)
            for name, figure in figures.items()
        ],
        words=5,
    )


def exits(report: Report) -> Table:
    """What each number of steps gives and costs."""
    first = report.headline.profile if report.headline else ""
    right = [percent(row.accuracy) for row in report.over_time] or [""] * len(report.early_exits)
    return Table(
        caption=f"Stopped early; energy under {first}, without hops" if first else "Stopped early",
        headings=("after steps", "accuracy", "answers that are final", "energy", "cycles"),
        rows=[
            (
                str(row.steps),
                accuracy,
                percent(row.settled / report.samples),
                quantity(row.energy[first], "J") if first in row.energy else "",
                count(row.cycles),
            )
            for row, accuracy in zip(report.early_exits, right, strict=True)
        ],
    )


def latency(report: Report) -> Table:
    """Cycle, one sample alone and samples in a row, at least and at most."""
    speeds = {row.profile: row.samples_per_second for row in report.efficiency}
    return Table(
        caption="Time, at least to at most",
        headings=("prices", "slowest layer", "cycle", "one sample alone", "in a row", "samples a second"),
        rows=[
            (
                row.profile,
                row.bottleneck,
                *(span(low, high, "s") for low, high in (row.step, row.one_shot, row.pipelined)),
                _numbers(*speeds[row.profile]) if row.profile in speeds else "",
            )
            for row in report.latency.steps
        ],
        words=2,
    )


def cores(mapping: Mapping) -> Table:
    """The cores of every layer, what keeps it from fewer, and how much of that its fullest core takes."""
    return Table(
        caption=f"Layers on the cores of {mapping.title}",
        headings=("layer", "bound by", "cores", "at least", "fullest core"),
        rows=[
            (
                layer["name"],
                layer["binding"],
                count(layer["cores"]),
                count(layer["lower_bound"]),
                f"{100 * layer['shares'][layer['binding']]:.0f} %",
            )
            for layer in (mapping.placement or {"layers": []})["layers"]
        ],
        words=2,
    )


def traffic(mapping: Mapping, samples: int) -> Table:
    """Messages between the cores, and how far they go."""
    named = {
        "between layers, one for every core that reads a spike": "messages",
        "of them within a tile": "within_tile",
        "of them to another chip": "between_chips",
        "hops along rows": "hops_x",
        "hops along columns": "hops_y",
    }
    totals = (mapping.traffic or {"totals": {}})["totals"]
    return Table(
        caption=f"Messages of a sample on {mapping.title}",
        headings=("messages", "a sample"),
        rows=[(name, count(totals[key] / samples)) for name, key in named.items() if key in totals],
    )


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _numbers(low: float, high: float) -> str:
    texts = f"{low:,.4g}", f"{high:,.4g}"
    return texts[0] if texts[0] == texts[1] else " to ".join(texts)
