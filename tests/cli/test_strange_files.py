"""Files from strangers: whatever was done to one, a command works or ends with one message, in time and memory.

`make fuzz` tries thousands of changes of each kind of file, others than the ordinary tests.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import cli
import h5py
import numpy as np
import pytest
import torch
from mutations import changed_arrays, changed_bytes, changed_document

from snn2hw.exporters.bundle import write_manifest

ROUNDS = int(os.environ.get("SNN2HW_FUZZ", "15"))
FIRST = int(os.environ.get("SNN2HW_FUZZ_FIRST", "0"))
LONGEST = 60  # seconds of one command
MOST_MEMORY = 4 << 20  # KiB
DATA = ("--data", "samples.npz")
BUNDLE = Path("net.lava")
TRAINING = (
    "train",
    "samples.npz",
    "--test",
    "samples.npz",
    "--net",
    "digits",
    "--connect",
    "ADD",
    "--recipe",
    "digits",
    "--epochs",
    2,
)

Random = np.random.Generator


@dataclass(frozen=True)
class Kind:
    """A kind of file: how one is changed where it lies in the current folder, and the commands that read it."""

    change: Callable[[Random], None]
    commands: tuple[tuple[object, ...], ...]


def without_model(change: Callable[[Random], None]) -> Callable[[Random], None]:
    """The same with the model gone, whose reading takes longer than all else."""

    def both(random: Random) -> None:
        change(random)
        Path("tiny.pt").unlink()

    return both


def in_bytes(path: str) -> Callable[[Random], None]:
    return lambda random: _write(path, changed_bytes(random, Path(path).read_bytes()))


def in_json(path: str) -> Callable[[Random], None]:
    return lambda random: _write(
        path, json.dumps(changed_document(random, json.loads(Path(path).read_text()))).encode()
    )


def in_arrays(path: str) -> Callable[[Random], None]:
    def change(random: Random) -> None:
        np.savez(path, allow_pickle=False, **changed_arrays(random, cli.arrays(path)))

    return change


def in_torch_file(path: str) -> Callable[[Random], None]:
    return lambda random: torch.save(changed_document(random, torch.load(path, weights_only=True)), path)


def in_manifest(random: Random) -> None:
    manifest = changed_document(random, json.loads((BUNDLE / "manifest.json").read_text()))
    write_manifest(BUNDLE, manifest if isinstance(manifest, dict) else {})


def in_program(random: Random) -> None:
    """The JSON of program.npz or its arrays, with the digests of the manifest made to fit."""
    path = BUNDLE / "program.npz"
    arrays = cli.arrays(path)
    if random.integers(2):
        document = changed_document(random, json.loads(str(arrays["program"])))
        text = json.dumps(document).encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        np.savez(path, allow_pickle=False, **arrays | {"program": np.array(text)})
    else:
        np.savez(path, allow_pickle=False, **changed_arrays(random, arrays))
    write_manifest(BUNDLE, json.loads((BUNDLE / "manifest.json").read_text()))


def in_graph(path: str) -> Callable[[Random], None]:
    """A parameter of a .nir file: another array, or gone."""

    def change(random: Random) -> None:
        with h5py.File(path, "r+") as file:
            names: list[str] = []
            file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
            name = names[random.integers(len(names))]
            arrays = changed_arrays(random, {"it": np.atleast_1d(file[name][()])})
            del file[name]
            for array in arrays.values():
                if array.dtype.kind in "iufb" and name not in file:
                    file[name] = array

    return change


def _write(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)


OF_BUNDLES = (
    ("inspect", BUNDLE, "--cores"),
    ("simulate", BUNDLE, *DATA),
    ("simulate", BUNDLE, *DATA, "--engine", "cycle", "-o", "s.npz"),
    ("verify", BUNDLE, *DATA, "--json", "v.json"),
    ("report", BUNDLE, *DATA, "-o", "out"),
)
OF_MODELS = (("check", "tiny.pt"), ("inspect", "tiny.pt"), ("simulate", "tiny.pt", *DATA, "--calibrate", "samples.npz"))
OF_GRAPHS = (("check", "net.nir", "--timesteps", 3), ("simulate", "net.nir", *DATA, "--calibrate", "samples.npz"))
OF_STATES = ((*TRAINING, "-o", "trained.pt", "--resume"),)
OF_SAMPLES = (
    ("simulate", BUNDLE, *DATA),
    (*TRAINING, "--epochs", 1, "-o", "new.pt"),
    ("report", BUNDLE, *DATA, "-o", "out"),
)
OF_VERDICTS = (("report", BUNDLE, *DATA, "-o", "out", "--verify", "verify.json"),)
OF_REPORTS = (("report", "--compare", "report.json", "report", "-o", "out"),)
OF_SPIKES = (("compare", BUNDLE, "spikes.npz", *DATA, "--json", "c.json"), ("compare", "spikes.npz", BUNDLE, *DATA))
OF_PRICES = (("report", BUNDLE, *DATA, "-o", "out", "--prices", "prices.toml"),)
KINDS = {
    "manifest": Kind(in_manifest, OF_BUNDLES),
    "program": Kind(without_model(in_program), OF_BUNDLES),
    "model, contents": Kind(in_torch_file("tiny.pt"), OF_MODELS),
    "model, bytes": Kind(in_bytes("tiny.pt"), OF_MODELS),
    "graph, contents": Kind(in_graph("net.nir"), OF_GRAPHS),
    "graph, bytes": Kind(in_bytes("net.nir"), OF_GRAPHS),
    "training state, contents": Kind(in_torch_file("trained.pt.training"), OF_STATES),
    "training state, bytes": Kind(in_bytes("trained.pt.training"), OF_STATES),
    "samples, contents": Kind(in_arrays("samples.npz"), OF_SAMPLES),
    "samples, bytes": Kind(in_bytes("samples.npz"), OF_SAMPLES),
    "verdict, contents": Kind(without_model(in_json("verify.json")), OF_VERDICTS),
    "verdict, bytes": Kind(without_model(in_bytes("verify.json")), OF_VERDICTS),
    "report, contents": Kind(in_json("report.json"), OF_REPORTS),
    "report, bytes": Kind(in_bytes("report.json"), OF_REPORTS),
    "spikes, contents": Kind(in_arrays("spikes.npz"), OF_SPIKES),
    "spikes, bytes": Kind(in_bytes("spikes.npz"), OF_SPIKES),
    "prices, bytes": Kind(without_model(in_bytes("prices.toml")), OF_PRICES),
}


@pytest.fixture(scope="module")
def sources(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one file of each kind, all of the tiny net; its bundle has no back end, so that none has to run."""
    folder = tmp_path_factory.mktemp("sources")
    for name in ("tiny.pt", "samples.npz"):
        shutil.copy(made / name, folder)
    shutil.copytree(made / "tiny.lava", folder / BUNDLE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        shutil.rmtree(BUNDLE / "lava")
        write_manifest(BUNDLE, json.loads((BUNDLE / "manifest.json").read_text()) | {"backends": {}})
        shutil.copy(BUNDLE / "network.nir", "net.nir")
        cli.succeed("simulate", BUNDLE, *DATA, "-o", "spikes.npz")
        cli.run("verify", BUNDLE, *DATA, "--json", "verify.json")
        cli.succeed("report", BUNDLE, *DATA, "-o", "report")
        shutil.copy("report/report.json", "report.json")
        shutil.copy(next(Path(cli.__file__).parent.parent.glob("targets/prices/*.toml")), "prices.toml")
        _cut_training()
    return folder


def _cut_training() -> None:
    """Leave the state of a training that was cut after its first epoch."""

    class Cut(BaseException):
        pass

    def stop(*_: object) -> None:
        raise Cut

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
        from snn2hw.training import run

        write = run.write_state
        patch.setattr(run, "write_state", lambda *given: (write(*given), stop()))
        cli.run(*TRAINING, "-o", "trained.pt")


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Fail if the body takes longer."""

    def over(_number: int, _frame: FrameType | None) -> None:
        pytest.fail(f"it took more than {seconds} s")

    old = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def peak() -> int:
    """The most memory that this process ever had, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.timeout(0)
@pytest.mark.filterwarnings("default")
def test_a_changed_file_is_read_or_refused_in_one_message(
    name: str, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, before, faults, refused = KINDS[name], peak(), [], 0
    for number in range(FIRST, FIRST + ROUNDS):
        folder = tmp_path / "case"
        shutil.copytree(sources, folder)
        monkeypatch.chdir(folder)
        random = np.random.default_rng([number, len(name)])
        kind.change(random)
        command = kind.commands[number % len(kind.commands)]
        with at_most(LONGEST):
            ended = cli.run(*command)
        refused += ended.code == 2
        if (fault := fault_of(ended)) is not None:
            faults.append(f"change {number}, {command[0]}: {fault}")
        shutil.rmtree(folder)
    assert not faults, f"{len(faults)} of {ROUNDS}:\n" + "\n".join(faults)
    assert refused or ROUNDS < 15, "no change did any harm, so this tests nothing"
    assert peak() <= max(before, MOST_MEMORY)


def fault_of(ended: cli.Ended) -> str | None:
    """What is wrong with how a command ended: an exception that nobody foresaw, or more than one error."""
    if "went wrong inside" in ended.err or "Traceback" in ended.err:
        return ended.err
    if ended.code == 2 and ended.err.count("error: ") < 1:
        return f"no message: {ended.err!r}"
    return None if ended.code in (0, 1, 2, 3) else f"exit code {ended.code}: {ended.err!r}"
