"""The sources as a user meets them: any layer name, any strict compiler, said and real memory, refusals."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import cli
import numpy as np
import pytest
from hand_made_graphs import program_of
from written import deployed, self_test, trained, write

from snn2hw import ir
from snn2hw.exporters import find_runnable
from snn2hw.exporters.c import build
from snn2hw.exporters.c.arrays import Array
from snn2hw.ir.numerics import load_numerics

NAMES = ["a.b", "a_b", 'quo"te', "../up/and\\down", "*/ end", "??/", "int", "schön\n", "%s [[ x ]] <% y %>", "", "9"]


def chain(names: list[str]) -> ir.Program:
    """Gates in a row, each under one of the names."""
    nodes: list[ir.Node] = [ir.Input(name="x", shape=(3,), scale=1.0, low=-2, high=2)]
    for name in names:
        nodes.append(ir.Threshold(name=name, inputs=(nodes[-1].name,), shape=(3,), threshold=0))
    nodes.append(ir.Readout(name="out", inputs=(nodes[-1].name,), shape=(3,), bias=np.zeros(3), scale=1.0))
    return program_of(ir.Graph(tuple(nodes)), load_numerics(), timesteps=2)


def test_layers_of_any_name_compile_and_are_told_by_it(tmp_path: Path) -> None:
    write(chain(NAMES), tmp_path / "c")
    assert self_test(tmp_path / "c") == (0, f"ok: 2 samples, 2 steps, {len(NAMES)} layers and the logits\n")
    assert [layer["name"] for layer in json.loads((tmp_path / "c/layers.json").read_text())["layers"]][:-1] == NAMES
    source = tmp_path / "c/network.c"
    first = source.read_text().replace("sums_s32[c] > 0", "sums_s32[c] > 5", 1)
    source.write_text(first)
    assert self_test(tmp_path / "c")[1].startswith("layer a.b, sample ")


def test_clang_finds_nothing_either(tmp_path: Path) -> None:
    """Strings instead of numbers, wide states and signed payloads included."""
    program = trained("iand")
    write(program, tmp_path / "c", kernels="auto")
    command = build.zig()
    assert command
    assert self_test(tmp_path / "c", command=command)[0] == 0


def test_large_arrays_are_strings_that_hold_every_byte() -> None:
    values = np.random.default_rng(0).integers(-127, 128, 1 << 14)
    array = Array(name="a", ctype="int8_t", values=values)
    strings = re.findall(r'"([^"]*)"', array.definition())
    read = [int(octal, 8) for text in strings for octal in re.findall(r"\\(\d{3})", text)]
    assert np.array_equal(np.array(read, np.uint8).view(np.int8), values)
    assert all(len(text) // 4 == array.row <= 4000 for text in strings)


@pytest.mark.parametrize("kernels", ["auto", "dense", "events"])
def test_said_memory_is_what_the_linked_network_takes(kernels: str, tmp_path: Path) -> None:
    if shutil.which("size") is None:
        pytest.fail("binutils is needed: it comes with gcc")
    program = trained("add")
    lines = write(program, tmp_path / "c", kernels=kernels)
    about = json.loads((tmp_path / "c/layers.json").read_text())
    assert (
        lines[0].startswith(f"Flash: {about['flash']:,} bytes at most") and f"RAM: {about['ram']:,} bytes" in lines[0]
    )
    objects = []
    for name in ("network", "kernels", "parameters"):
        build.compile_c(build.find_compiler(), tmp_path / "c", ["-std=c99", "-Os", "-c", f"{name}.c"])
        objects.append(f"{name}.o")
    build.compile_c(build.find_compiler(), tmp_path / "c", ["-r", "-nostdlib", "-o", "linked.o", *objects])
    table = subprocess.run(["size", "linked.o"], cwd=tmp_path / "c", check=True, capture_output=True, text=True).stdout
    text, data, bss = map(int, table.splitlines()[1].split()[:3])
    slack = 32 * 30  # what x86 aligns large arrays to, beyond what a microcontroller does
    assert 0.7 * about["flash"] < text + data <= about["flash"] < 200_000
    assert about["ram"] - slack < data + bss <= about["ram"] + slack < 40_000


def test_a_program_too_large_for_the_target_is_refused_with_its_largest_layers(tiny: Path) -> None:
    del tiny
    message = cli.fail("export", "tiny.pt", "--target", "c", "--calibrate", "samples.npz", "--ram", "1k", "-o", "x")
    assert re.fullmatch(
        r"\S+: the program needs [\d,]+ bytes of RAM, and there are 1,024\. The largest layers are \S+ \([\d,]+\), .*"
        r"Use a smaller net or a larger target",
        message,
    )
    assert "bytes of flash, and there are 2,000" in cli.fail(
        "export", "tiny.pt", "--target", "c", "--calibrate", "samples.npz", "--flash", "2000", "-o", "x"
    )
    cli.succeed(
        "export", "tiny.pt", "--target", "c", "--calibrate", "samples.npz", "--flash", "512k", "--ram", "96k", "-o", "x"
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--prefix", "2nd"), "--prefix 2nd: up to 16 letters, digits and _ are possible, a letter first."),
        (("--kernels", "fast"), "--kernels fast: choose auto, dense, events."),
        (("--ram", "lots"), "--ram lots: give bytes, or kibibytes or mebibytes as in 512k or 2M."),
    ],
)
def test_options_out_of_range_are_refused(options: tuple[str, str], words: str, tiny: Path) -> None:
    del tiny
    assert cli.fail("export", "tiny.pt", "--target", "c", "--calibrate", "samples.npz", *options) == words


def test_without_a_compiler_one_message_says_where_to_get_one(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del tiny
    cli.succeed("export", "tiny.pt", "--target", "c", "--calibrate", "samples.npz", "-o", "tiny.c")
    monkeypatch.setattr(build, "zig", lambda: None)
    monkeypatch.setenv("PATH", "")
    message = cli.fail("simulate", "tiny.c", "--data", "samples.npz", "--engine", "c")
    assert message.startswith("there is no C compiler on the PATH: install one (Debian, Ubuntu: apt-get install gcc)")
    assert "C compiler" in cli.succeed("doctor")
    message = cli.fail("simulate", "tiny.c", "--data", "samples.npz", "--engine", "c", "--compiler", "none-such")
    assert message.startswith("there is no C compiler") or message == "--compiler none-such: there is no such command."


def test_a_schedule_whose_steps_do_not_line_up_is_refused() -> None:
    program = trained("add")
    latency = program.schedule.latency | {"conv1": 2}
    crooked = replace(program, schedule=replace(program.schedule, latency=latency))
    backend = find_runnable("c")
    (blocker,) = backend.blockers(deployed(crooked), backend.options())
    assert "its steps do not line up" in str(blocker)
