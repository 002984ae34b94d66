"""The rows of the page's tables, as texts."""

from __future__ import annotations

from snn2hw.report.document import ARITHMETIC, Report
from snn2hw.report.mapping import Mapping
from snn2hw.report.prices import load_profiles
from snn2hw.report.quantity import quantity

Rows = list[tuple[str, ...]]


def count(value: float) -> str:
    """A number of things: whole where it is, else with one decimal."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def verified(report: Report) -> Rows:
    """The comparisons of the verification, and those that did not run."""
    if report.verification is None:
        return []
    ran: Rows = [
        (
            comparison.name,
            "exact" if comparison.exact_required else "for information",
            count(comparison.compared),
            count(comparison.mismatches),
        )
        for comparison in report.verification.comparisons
    ]
    return ran + [(name, f"skipped: {reason}", "", "") for name, reason in report.verification.skipped.items()]


def operations(report: Report) -> Rows:
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
    return [(name, count(value)) for name, value in named.items()]


def footprint(report: Report) -> Rows:
    """Memory and sparsities."""
    memory = report.footprint
    model = [] if memory.model_bytes is None else [("float model", f"{memory.model_bytes:,} bytes")]
    return [
        ("integer weights", f"{memory.program_weight_bytes:,} bytes"),
        *model,
        ("weights that are zero", f"{100 * memory.connection_sparsity:.2f} %"),
        ("silent neurons and steps", f"{100 * memory.activation_sparsity:.2f} %"),
    ]


def energy(report: Report) -> Rows:
    """Totals of every profile, under each rule of counting."""
    titles = {profile.name: profile for profile in report.profiles}
    rows: Rows = []
    for row in report.energy:
        profile = titles[row.profile]
        if row.total is None:
            rows.append((profile.title, "", profile.evidence, "no public price", "", "", ""))
            continue
        by_rule = [quantity(row.by_rule[rule], "J") for rule in ("count", "value", "dense")]
        rows.append((profile.title, f"by {row.rule}", profile.evidence, quantity(row.total, "J"), *by_rule))
    return rows


def baselines(report: Report) -> Rows:
    """The ANN twin under each arithmetic."""
    return [
        (
            row.profile,
            quantity(row.ann, "J"),
            quantity(row.spiking, "J"),
            "none" if row.break_even_rate is None and row.rate is not None else _rate(row.break_even_rate),
            _rate(row.rate),
        )
        for row in report.baselines
    ]


def prices(report: Report) -> Rows:
    """Every figure of every profile."""
    return [
        (profile.title, name, f"{figure.value:g} {figure.unit}", figure.source, figure.evidence)
        for profile in report.profiles
        for figures in (profile.prices, profile.times)
        for name, figure in figures.items()
    ]


def paper_prices() -> tuple[float, float]:
    """Picojoules of a product and of a sum in the formula of the papers."""
    profile = load_profiles(ARITHMETIC[:1])[0]
    return 1e12 * profile.price("graded_operation"), 1e12 * profile.price("synaptic_operation")


def latency(report: Report) -> Rows:
    """Cycle, one sample alone and samples in a row, at least and at most."""
    return [
        (row.profile, row.bottleneck, *(_span(low, high) for low, high in (row.step, row.one_shot, row.pipelined)))
        for row in report.latency.steps
    ]


def cores(mapping: Mapping) -> Rows:
    """The cores of every layer, what keeps it from fewer, and how much of that its fullest core takes."""
    return [
        (
            layer["name"],
            layer["binding"],
            count(layer["cores"]),
            count(layer["lower_bound"]),
            f"{layer['shares'][layer['binding']]:.0%}",
        )
        for layer in (mapping.placement or {"layers": []})["layers"]
    ]


def traffic(mapping: Mapping, samples: int) -> Rows:
    """Messages between the cores, and how far they go."""
    named = {
        "between layers, one for every core that reads a spike": "messages",
        "of them within a tile": "within_tile",
        "of them to another chip": "between_chips",
        "hops along rows": "hops_x",
        "hops along columns": "hops_y",
    }
    totals = (mapping.traffic or {"totals": {}})["totals"]
    return [(name, count(totals[key] / samples)) for name, key in named.items() if key in totals]


def approximations(report: Report) -> Rows:
    """What differs, why, and where: one row for all places of a kind."""
    places: dict[tuple[str, str], list[str]] = {}
    for row in report.approximations:
        places.setdefault((row.what, row.reason), []).append(row.where)
    return [(what, reason, ", ".join(where)) for (what, reason), where in places.items()]


def record(report: Report) -> list[tuple[str, str]]:
    """What the report was made from."""
    origin = report.reproducibility

    def listed(items: dict[str, object]) -> str:
        return ", ".join(f"{name} {value}" for name, value in items.items())

    return [
        ("command", origin.command),
        ("versions", listed({**origin.versions})),
        ("platform", origin.platform),
        ("model", origin.model),
        ("sha256 of the model", origin.model_sha256 or "none: it has no file"),
        ("options of the model", listed(origin.model_options) or "none"),
        ("sha256 of the bundle", origin.bundle_sha256 or "none: the model itself is reported on"),
        ("sha256 of the program", origin.program_sha256),
        ("bundle made with", listed({**origin.bundle_versions})),
        ("calibrated on", listed(origin.calibration)),
        ("data", f"{origin.data}, {origin.data_samples:,} samples"),
        ("sha256 of the data", origin.data_sha256),
    ]


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _span(low: float, high: float) -> str:
    return f"{quantity(low, 's')} to {quantity(high, 's')}"
