"""How the command line is used: its help, options that stand anywhere, JSON on stdout, a project's own defaults."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cli
import pytest
from cli import fail, succeed

from snn2hw import __version__
from snn2hw.cli.asked import COMMANDS
from snn2hw.cli.command import Command

NAMES = [Command(arguments).__name__ for arguments in COMMANDS]


def words(*arguments: str) -> str:
    """What a command prints, without frames and line breaks."""
    return " ".join(succeed(*arguments).replace("│", " ").split())


def test_the_version() -> None:
    assert succeed("--version") == f"snn2hw {__version__}\n"


def test_help_lists_the_commands_in_groups() -> None:
    shown = succeed("--help")
    places = [shown.index(title) for title in ("Deploy", "Run and compare", "Look into", "Begin and train")]
    assert places == sorted(places)
    assert all(f" {name} " in shown for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_an_example(name: str) -> None:
    assert f"Example: snn2hw {name}" in words(name, "--help")


def test_a_shell_can_complete_it() -> None:
    ended = cli.run_script("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert ended.code == 0 and "_SNN2HW_COMPLETE" in ended.out


@pytest.mark.usefixtures("alone")
def test_a_wrong_name_is_answered_with_the_right_one() -> None:
    Path("x.nir").touch()
    assert "Did you mean 'verify'?" in cli.run("verfy").err.replace("\n", " ")
    assert "Did you mean lava?" in fail("export", "x.pt", "--target", "lawa")
    assert "Did you mean fast?" in fail("simulate", "x.pt", "--data", "digits", "--engine", "fats")


@pytest.mark.usefixtures("tiny")
def test_debug_stands_anywhere() -> None:
    for line in (("--debug", "check", "none.pt"), ("check", "none.pt", "--debug"), ("check", "--debug", "none.pt")):
        ended = cli.run(*line)
        assert ended.code == 2 and "Traceback" in ended.err


@pytest.mark.usefixtures("tiny")
def test_quiet_prints_errors_alone_and_verbose_says_what_takes_long() -> None:
    line = ("simulate", "tiny.lava", "--data", "samples.npz")
    assert succeed(*line, "-q") == ""
    assert "none.pt" in fail("check", "none.pt", "-q")
    ended = cli.run(*line, "-v")
    assert ended.code == 0 and "samples: 5 of 5" in ended.err
    assert succeed(*line) != ""  # one call does not silence the next


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("line", "schema"),
    [
        (("check", "tiny.pt"), "snn2hw.check/1"),
        (("inspect", "tiny.lava"), "snn2hw.inspect/1"),
        (("verify", "tiny.lava", "--data", "samples.npz", "--without", "lava"), "snn2hw.verify/1"),
        (("compare", "tiny.lava@fast", "tiny.lava@cycle", "--data", "samples.npz"), "snn2hw.compare/1"),
        (("doctor",), "snn2hw.doctor/1"),
    ],
)
def test_json_goes_to_stdout_alone(line: tuple[str, ...], schema: str) -> None:
    assert json.loads(succeed(*line, "--json", "-"))["schema"] == schema
    assert not Path("-").exists()


def test_the_doctor_tells_versions_and_the_processor() -> None:
    parts = {part["name"]: part["present"] for part in json.loads(succeed("doctor", "--json", "-"))["parts"]}
    assert parts["snn2hw"] == __version__
    assert parts.keys() >= {"Python", "torch", "numba", "processor", "CUDA", "Lava"}


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("file", ["snn2hw.toml", "pyproject.toml"])
def test_a_project_sets_options_for_all_its_calls(file: str) -> None:
    table = "" if file == "snn2hw.toml" else "tool.snn2hw."
    head = "" if file == "snn2hw.toml" else "[tool.snn2hw]\n"
    Path(file).write_text(
        f'{head}data = "samples.npz"\nsamples = 2\n[{table}verify]\nsamples = 3\nwithout = ["lava"]\n'
    )
    assert "2 samples right" in succeed("simulate", "tiny.lava")
    assert "Verdict: exact for these 3 samples. Integer-exact: PyTorch, program (without lava)." in succeed(
        "verify", "tiny.lava"
    )
    assert "4 samples right" in succeed("simulate", "tiny.lava", "--samples", "4")  # the line goes before the file


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sampels = 3", "snn2hw.toml: there is no option 'sampels'. Did you mean samples?"),
        ("[verfy]\nsamples = 3", "snn2hw.toml: there is no command 'verfy'. Did you mean verify?"),
        ("[verify]\nbits = 3", "snn2hw.toml, table verify: there is no option 'bits'."),
        ("samples = ", "snn2hw.toml: this is not TOML"),
    ],
)
def test_what_a_project_sets_in_vain_is_told(content: str, message: str) -> None:
    Path("snn2hw.toml").write_text(content)
    assert fail("doctor").startswith(message)


@pytest.mark.usefixtures("tiny")
def test_no_file_is_replaced_unless_asked() -> None:
    Path("net.nir").write_text("mine")
    line = ("export", "tiny.pt", "--target", "nir", "--calibrate", "samples.npz", "-o", "net.nir")
    assert fail(*line) == "net.nir exists. Replace it with --force, or name another place."
    assert "Wrote net.nir in place of what was there: " in succeed(*line, "--force")
    assert Path("net.nir").read_bytes()[:4] == b"\x89HDF"
    again = succeed("export", "tiny.pt", "--target", "lava", "--calibrate", "samples.npz", "-o", "tiny.lava")
    assert "Wrote tiny.lava in place of what was there: " in again  # an older bundle always may


def test_help_imports_nothing_slow() -> None:
    code = (
        "import sys; from snn2hw.cli import main; main(['export', '--help']); "
        "print({'torch', 'numpy', 'nir', 'plotly', 'onnx'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "set()\n"
