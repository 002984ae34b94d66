"""snn2hw report: accuracy, spikes, operations, energy and latency of a bundle or model on data."""

from __future__ import annotations

from pathlib import Path

from snn2hw.cli import console
from snn2hw.cli.asked import Report
from snn2hw.cli.commands.arguments import compile_model, is_bundle, load, take_first, take_samples, tell_notes
from snn2hw.cli.commands.compare_reports import compare_reports
from snn2hw.cli.commands.report_extras import check_extras, write_extras
from snn2hw.cli.report_tables import show
from snn2hw.errors import OptionError
from snn2hw.exporters.bundle import read_bundle
from snn2hw.files import check_folder, write_text
from snn2hw.pipeline import Options
from snn2hw.report.document import make_report
from snn2hw.report.page.render import plots_of, render
from snn2hw.report.page.tables import tables_of
from snn2hw.report.prices import load_profiles
from snn2hw.report.subject import of_bundle, of_deployment
from snn2hw.report.verification import read_verification
from snn2hw.verification.provenance import model_of


def report(asked: Report) -> None:
    """Count, price, print, and write report.json and report.html into the folder `output`; or compare reports."""
    if asked.compare:
        if asked.data is not None:
            raise OptionError("--compare A B: it takes reports and -o, no model and no data.")
        compare_reports([Path(each) for each in asked.given or ()], asked)
        return
    if not asked.given or asked.data is None or asked.output is None:
        raise OptionError(
            "a report needs a bundle or model, --data DATA and -o FOLDER; or --compare A B, reports that are there."
        )
    if len(asked.given) > 1:
        raise OptionError(f"{asked.given[1]}: a report is of one bundle or model. Several reports: --compare.")
    check_folder(asked.output)
    check_extras(asked)
    (given,) = asked.given
    profiles = load_profiles(asked.profile or [], asked.prices)
    skip_corrupt = asked.skip_corrupt
    if is_bundle(given):
        bundle = read_bundle(Path(given))
        loaded, missing = model_of(bundle, asked.model, asked.options.weights, asked.options.trust_pickle)
        tell_notes(loaded)
        subject = of_bundle(bundle)
    else:
        loaded, missing = load(given, asked.options), ""
        options = Options(timesteps=loaded.timesteps)
        subject = of_deployment(compile_model(loaded, asked.calibrate, options, None, skip_corrupt=skip_corrupt))
    count = asked.samples if asked.verify_file is None else None  # a verification may be of more than the report
    everything = take_samples(asked.data, subject.program, count, saturate=asked.saturate, skip_corrupt=skip_corrupt)
    samples = take_first(everything, asked.samples)
    verification = None if asked.verify_file is None else read_verification(asked.verify_file, subject, everything)
    with console.bars() as bars:
        made = make_report(
            subject,
            samples,
            None if loaded is None else loaded.traced,
            profiles=profiles,
            missing_model=missing or "a .nir file holds no PyTorch model",
            verification=verification,
            raster_samples=asked.raster or [0],
            asked_profile=asked.profile[0] if asked.profile else "",
            command=asked.context.obj.command,
            progress=bars,
        )
    page = render(made)
    asked.output.mkdir(exist_ok=True)
    write_text(asked.output / "report.json", made.to_json())
    write_text(asked.output / "report.html", page)
    show(made)
    console.say(f"Wrote {asked.output / 'report.html'} and {asked.output / 'report.json'}.")
    write_extras(asked, plots_of(made), tables_of(made))
