"""A back end of another package: every command knows it, and what it gets wrong is told under its name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import cli
import nir
import numpy as np
import pytest
from cli import arrays, fail, succeed

from snn2hw import exporters
from snn2hw.exporters.bundle import read_bundle

INSTALLED = Path(__file__).with_name("third_party")
CALIBRATED = ("--calibrate", "samples.npz")
BOTH = ("--target", "lava", "--target", "flux", "-o", "both.lava")
VERIFY = ("verify", "both.lava", "--data", "samples.npz", "--json", "verify.json")


@pytest.fixture
def flux(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The package is installed, and dense.py makes a net that it can run."""
    (tiny / "dense.py").write_text(
        "import snntorch, torch\nfrom torch import nn\n"
        "def net():\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(36, 9), "
        "snntorch.Leaky(0.9, init_hidden=True, reset_mechanism='zero'), nn.Linear(9, 4))\n"
    )
    shutil.copytree(INSTALLED, tiny / "installed")
    monkeypatch.syspath_prepend(str(tiny / "installed"))
    import flux as module

    return module


def model(*options: object) -> tuple[object, ...]:
    return ("dense:net", "--input-shape", "1,6,6", "--timesteps", "4", *options)


@pytest.fixture
def both(flux: ModuleType) -> ModuleType:
    """A bundle with Lava and Flux."""
    succeed("export", *model(*BOTH, *CALIBRATED))
    return flux


def comparisons(*options: str, code: int) -> dict[str, dict[str, Any]]:
    """Verify, which must end with `code`, and return its comparisons by name."""
    succeed(*VERIFY, *options, code=code)
    return {entry["name"]: entry for entry in json.loads(Path("verify.json").read_text())["comparisons"]}


# export


@pytest.mark.usefixtures("flux")
def test_export_writes_it_with_its_own_options_and_suffix() -> None:
    out = succeed("export", *model("--target", "flux", "--title", "a dense net", *CALIBRATED))
    assert out.startswith("Wrote net.flux: ") and "flux: a dense net has 5 layers." in out
    assert json.loads(Path("net.flux").read_text())["title"] == "a dense net"
    assert "For flux: what the file calls the network. [default: a net]" in " ".join(
        succeed("export", "--help").replace("│", " ").split()
    )
    assert fail("export", "tiny.pt", "--target", "nir", "--title", "x", *CALIBRATED) == (
        "--title is not for --target nir. Leave it out."
    )


def test_several_targets_are_one_bundle(flux: ModuleType) -> None:
    del flux
    succeed("export", *model(*BOTH, "--target", "nir", "--quantised", "--allow-lossy", *CALIBRATED))
    bundle = read_bundle(Path("both.lava"))
    assert bundle.manifest["backends"] == {
        "lava": {"artefact": "lava", "runnable": True},
        "flux": {"artefact": "flux/network.flux", "runnable": True},
        "nir": {"artefact": "nir/network.nir", "runnable": False},
    }
    assert {"lava/run.py", "flux/network.flux", "nir/network.nir"} <= bundle.manifest["sha256"].keys()
    assert nir.read("both.lava/nir/network.nir").nodes.keys() == nir.read("both.lava/quantised.nir").nodes.keys()
    text = Path("both.lava/README.md").read_text()
    assert all(words in text for words in ("python lava/run.py", "flux/network.flux is", "nir/network.nir is"))


def test_a_changed_artefact_is_found(both: ModuleType) -> None:
    del both
    with cli.byte_changed(Path("both.lava/flux/network.flux"), 5, 0):
        assert "flux/network.flux was changed after the export" in fail("inspect", "both.lava")


def test_a_bundle_without_lava_is_one_too(flux: ModuleType) -> None:
    del flux
    succeed("export", *model("--target", "flux", "--target", "nir", *CALIBRATED))
    out = succeed("verify", "net.bundle", "--data", "samples.npz")
    assert "flux-vs-program" in out and "lava" not in out


@pytest.mark.parametrize("targets", [("flux",), ("lava", "flux")])
def test_an_export_that_fails_leaves_nothing(
    targets: tuple[str, ...], flux: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr(flux, "write_text", refuse)
    options = [word for target in targets for word in ("--target", target)]
    assert "No space left on device" in fail("export", *model(*options, *CALIBRATED))


def test_a_target_that_is_named_twice_is_refused(flux: ModuleType) -> None:
    del flux
    assert fail("export", *model("--target", "flux", "--target", "flux", *CALIBRATED)) == (
        "--target flux: it is named twice. Leave one out."
    )


# check


@pytest.mark.usefixtures("flux")
def test_check_asks_it_and_export_refuses_the_same() -> None:
    succeed("check", *model("--target", "flux"))
    out = succeed("check", "tiny.pt", "--target", "flux", "--json", "check.json", code=1)
    blockers = json.loads(Path("check.json").read_text())["blockers"]
    assert "conv1" in out and blockers[0] == {
        "layer": "conv1", "problem": "flux has dense layers alone", "advice": "Leave it out", "line": "",
    }  # fmt: skip
    message = fail("export", "tiny.pt", "--target", "lava", "--target", "flux", *CALIBRATED)
    assert message.splitlines() == [f"{each['layer']}: {each['problem']}. {each['advice']}" for each in blockers]


# simulate, compare, inspect, doctor


@pytest.mark.parametrize("what", [("both.lava",), model(*CALIBRATED)], ids=["bundle", "model"])
@pytest.mark.usefixtures("both")
def test_simulate_and_compare_know_it_as_an_engine(what: tuple[str, ...]) -> None:
    succeed("simulate", *what, "--data", "samples.npz", "--engine", "flux", "--flux-processes", "2", "-o", "flux.npz")
    succeed("simulate", *what, "--data", "samples.npz", "--engine", "cycle", "-o", "cycle.npz")
    ours, theirs = arrays("cycle.npz"), arrays("flux.npz")
    assert ours.keys() == theirs.keys() and ours["2"].any()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert "Equal" in succeed("compare", "both.lava@flux", "both.lava@lava", "--data", "samples.npz")


@pytest.mark.usefixtures("flux")
def test_an_engine_that_is_not_in_the_bundle_is_told() -> None:
    assert fail("simulate", "tiny.lava", "--data", "samples.npz", "--engine", "flux") == (
        "tiny.lava: it holds lava and not flux. Export it with --target flux too."
    )
    assert fail("compare", "tiny.lava@flux", "tiny.lava", "--data", "samples.npz") == (
        "tiny.lava@flux: a bundle runs in fast, cycle or lava."
    )


@pytest.mark.usefixtures("both")
def test_inspect_and_doctor_name_it() -> None:
    assert "Back ends: lava (lava, runs), flux (flux/network.flux, runs).\n" in succeed("inspect", "both.lava")
    (row,) = (line for line in succeed("doctor").splitlines() if line.startswith("│ flux "))
    assert f"│ {np.__version__} " in row


# verify


def test_verify_requires_it_by_name(both: ModuleType) -> None:
    del both
    compared = comparisons(code=0)
    assert list(compared)[:4] == ["network-vs-torch", "integers-vs-network", "lava-vs-program", "flux-vs-program"]
    assert compared["flux-vs-program"]["exact_required"] and compared["flux-vs-program"]["compared"] > 0
    accuracy = json.loads(Path("verify.json").read_text())["accuracy"]
    assert list(accuracy) == ["float", "requantised", "program", "lava", "flux", "n"]
    assert accuracy["flux"] == accuracy["program"]


def test_one_wrong_spike_of_it_is_a_divergence_that_names_it(both: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    right: Callable[..., dict[str, Any]] = both.run_sample
    count = iter(range(5))

    def wrong(*arguments: Any) -> dict[str, Any]:
        result = right(*arguments)
        if next(count) == 3:
            result["2"][1, 7] ^= 1
        return result

    monkeypatch.setattr(both, "run_sample", wrong)
    ended = cli.run(*VERIFY)
    assert ended.code == 1
    assert "First difference of flux-vs-program: layer 2, sample 3, step 1, cycle 15, index [7]: program " in ended.out
    compared = {entry["name"]: entry for entry in json.loads(Path("verify.json").read_text())["comparisons"]}
    required = [name for name, entry in compared.items() if entry["exact_required"] and entry["mismatches"]]
    assert required == ["flux-vs-program"] and compared["flux-vs-program"]["mismatches"] == 1


def test_a_layer_that_it_does_not_return_is_no_exact_result(both: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    right: Callable[..., dict[str, Any]] = both.run_sample
    monkeypatch.setattr(
        both, "run_sample", lambda *given: {name: a for name, a in right(*given).items() if name != "2"}
    )
    assert fail(*VERIFY).startswith("flux-vs-program: 2 of shape [5, 4, 9] is not in what flux returned.")


def test_where_it_is_not_installed_its_bundle_is_not_exact(both: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    del both
    monkeypatch.setattr("sys.path", [place for place in __import__("sys").path if "installed" not in place])
    assert "flux-vs-program" not in comparisons(code=3)
    skipped = json.loads(Path("verify.json").read_text())["skipped"]
    assert skipped.keys() == {"flux-vs-program"}
    assert "there is no exporter for 'flux'" in skipped["flux-vs-program"]
    assert "leave it out: --without flux" in skipped["flux-vs-program"]


def test_it_is_left_out_as_lava_is(both: ModuleType) -> None:
    del both
    assert "flux-vs-program" not in comparisons("--without", "flux", code=0)
    result = json.loads(Path("verify.json").read_text())
    assert result["statement"] == "integer-exact: PyTorch, program, lava (without flux)"


# What is no back end


class Half:
    """It has a name and nothing else."""

    name = "half"


class HalfRunnable(Half):
    suffix, bundled, options = ".half", False, exporters.NoOptions
    blockers = check_place = write = readme = run = None


class OddOptions(Half):
    suffix, bundled, options = ".half", False, dict
    blockers = check_place = write = readme = None


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        (Half, "is no back end: it has no suffix, bundled, options, blockers, check_place, write, readme."),
        (HalfRunnable, "is no back end: it has no run_options, parts, prepare."),
        (OddOptions, "is no back end: its options are no dataclass."),
    ],
)
def test_what_lacks_something_is_refused_with_what_is_missing(
    backend: type, words: str, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = EntryPoint("half", "half:BACKEND", exporters.GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda self: backend())
    monkeypatch.setattr(exporters, "entry_points", lambda **selected: [entry])
    assert words in fail("export", "tiny.pt", "--target", "half")
    cli.succeed("inspect", "tiny.pt")  # the other commands go on without it
