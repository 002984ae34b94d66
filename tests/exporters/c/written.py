"""Programs written as C, compiled and run: what the tests of the C and WebAssembly back ends share."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import interop_nets
import nir
import numpy as np

from snn2hw import ir
from snn2hw.data.samples import Samples
from snn2hw.deployment import Deployment, NetworkCheck, Source
from snn2hw.exporters import find_runnable
from snn2hw.exporters.c import COptions
from snn2hw.exporters.c.build import STRICT, compile_c, find_compiler
from snn2hw.exporters.c.run import run_compiled

SANITISED = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def deployed(program: ir.Program, examples: Samples | None = None, *, model: str = "net") -> Deployment:
    """A program as an exporter takes it; nothing of the C back end looks at its float network."""
    return Deployment(
        program=program,
        network=nir.NIRGraph({}, []),
        network_check=NetworkCheck(samples=0, compared=0, ties=0, note=""),
        source=Source(model=model, file=None, sha256=None, options={}),
        calibrated_on="samples",
        calibration_samples=1,
        conventions={},
        examples=examples,
    )


@cache
def trained(net: str) -> ir.Program:
    """The program of a trained net of examples/digits."""
    return interop_nets.NETS[f"digits {net}"]()[0].program


def write(program: ir.Program, place: Path, examples: Samples | None = None, **options: Any) -> list[str]:
    """Write a program to a new folder; what people are told."""
    return list(find_runnable("c").write(deployed(program, examples), place, COptions(**options)))


def run(folder: Path, samples: Samples, optimise: Sequence[str] = ("-O1",), compiler: str | None = None) -> ir.Spikes:
    """Compile a folder and run samples."""
    return run_compiled(folder, samples, compiler=compiler, optimise=tuple(optimise), progress=lambda a, b: None)


def self_test(
    folder: Path, *, command: Sequence[str] | None = None, flags: Sequence[str] = ("-O1",)
) -> tuple[int, str]:
    """Compile the self-test as strictly as can be, and run it: how it ended, and what it printed."""
    sources = ("network.c", "kernels.c", "parameters.c", "vectors.c", "selftest.c")
    compile_c(command or find_compiler(), folder, [*STRICT, *flags, "-o", "selftest", *sources])
    done = subprocess.run([str(folder.resolve() / "selftest")], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def assert_same(actual: ir.Spikes, expected: ir.Spikes) -> None:
    """Every layer, step and value, and the types that engines give."""
    assert actual.keys() == expected.keys()
    for name, values in expected.items():
        assert actual[name].dtype == values.dtype and actual[name].shape == values.shape, name
        assert np.array_equal(actual[name], values), name
