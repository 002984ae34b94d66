"""snn2hw report: accuracy, spikes, operations, energy and latency of a bundle or model on data."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from snn2hw.cli import console
from snn2hw.cli.commands.arguments import compile_model, is_bundle, load, take_first, take_samples, tell_notes
from snn2hw.cli.commands.compare_reports import compare_reports
from snn2hw.cli.report_tables import show
from snn2hw.errors import OptionError
from snn2hw.exporters.lava import export as export_bundle
from snn2hw.exporters.lava import read_bundle
from snn2hw.files import check_folder, write_text
from snn2hw.frontends.options import ModelOptions
from snn2hw.pipeline import Options
from snn2hw.report.document import make_report
from snn2hw.report.page.render import render
from snn2hw.report.prices import load_profiles
from snn2hw.report.verification import read_verification
from snn2hw.verification.provenance import model_of


def report(
    given: str | None,
    data: str | None,
    output: Path | None,
    options: ModelOptions,
    *,
    samples: int | None,
    model: str | None,
    verify: Path | None,
    profiles: list[str],
    prices: Path | None,
    rasters: list[int],
    calibrate: str | None,
    skip_corrupt: bool,
    saturate: bool,
    compare: tuple[Path, Path] | None,
    command: str,
) -> None:
    """Count, price, print, and write report.json and report.html into the folder `output`; or compare two reports."""
    if compare is not None:
        if given is not None or data is not None:
            raise OptionError("--compare A B: it takes two reports and -o, no model and no data.")
        compare_reports(*compare, output)
        return
    if given is None or data is None or output is None:
        raise OptionError(
            "a report needs a bundle or model, --data DATA and -o FOLDER; or --compare A B, two reports that are there."
        )
    check_folder(output)
    chosen_profiles = load_profiles(profiles, prices)
    with ExitStack() as scratch:
        if is_bundle(given):
            bundle = read_bundle(Path(given))
            loaded, missing = model_of(bundle, model, options.weights, options.trust_pickle)
            tell_notes(loaded)
        else:
            loaded, missing = load(given, options), ""
            path = Path(scratch.enter_context(tempfile.TemporaryDirectory(prefix="snn2hw-")), "bundle")
            chosen_options = Options(timesteps=loaded.timesteps)
            export_bundle(compile_model(loaded, calibrate, chosen_options, None, skip_corrupt=skip_corrupt), path)
            bundle = read_bundle(path)
        count = samples if verify is None else None  # a verification may be of more samples than the report
        everything = take_samples(data, bundle.program, count, saturate=saturate, skip_corrupt=skip_corrupt)
        chosen = take_first(everything, samples)
        verification = None if verify is None else read_verification(verify, bundle, everything)
        with console.bars() as bars:
            made = make_report(
                bundle,
                chosen,
                None if loaded is None else loaded.traced,
                profiles=chosen_profiles,
                missing_model=missing or "a .nir file holds no PyTorch model",
                verification=verification,
                raster_samples=rasters,
                command=command,
                progress=bars,
            )
    page = render(made)
    output.mkdir(exist_ok=True)
    write_text(output / "report.json", made.to_json())
    write_text(output / "report.html", page)
    show(made)
    console.say(f"Wrote {output / 'report.html'} and {output / 'report.json'}.")
