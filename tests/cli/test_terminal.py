"""Names and texts of strangers in the terminal: they are shown, and steer nothing."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path

import cli
import nir
import numpy as np
import pytest
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from snn2hw.shown.terminal import Terminal, harmless

TITLE, COLOUR, REVERSED, MARKUP = "\x1b]0;owned\x07", "\x1b[31mred", "gpj.\u202exe", "[bold red]not bold[/]"


def printed(*things: object, **options: object) -> str:
    """What a terminal is sent, colours of rich itself included."""
    file = io.StringIO()
    terminal = Terminal(file=file, force_terminal=True, color_system="standard", width=60, highlight=False)
    terminal.print(*things, **options)
    return file.getvalue()


@pytest.mark.parametrize("text", [TITLE, COLOUR, REVERSED, "a\rb", "a\x9bb", "a\ud800b", "\u2066x"])
def test_what_steers_a_terminal_is_shown_instead(text: str) -> None:
    table = Table("layer", title=escape(text))
    table.add_row(escape(text))
    for sent in (printed(text, markup=False), printed(Text(text)), printed(table)):
        assert not set("\x07\r\x9b\ud800\u202e\u2066") & set(sent) and "\x1b]" not in sent and "\x1b[31m" not in sent
        assert "\\" in sent or "\r" in text, "which rich takes out"


def test_tables_with_such_names_keep_their_borders_in_line() -> None:
    table = Table("layer", "spikes")
    table.add_row(escape(TITLE), "1")
    table.add_row("plain", "2")
    assert (
        len({len(line) for line in printed(table, soft_wrap=False).replace("\x1b[1m", "").split("\n") if "│" in line})
        == 1
    )


def test_lines_accents_and_what_rich_itself_sends_stay() -> None:
    assert harmless("two\nlines\tÄ ≥ 中") == "two\nlines\tÄ ≥ 中"
    assert "\x1b[1;31mbold" in printed("[bold red]bold[/]")
    assert printed(MARKUP, markup=False).strip() == MARKUP


def test_a_layer_of_a_strangers_network_sends_no_escape_sequence(alone: Path) -> None:
    one, names = np.ones(4, np.float32), ("a" + TITLE, MARKUP, REVERSED)
    nodes = {name: nir.IF(r=one, v_threshold=one, v_reset=0 * one) for name in names}
    ends = {"input": nir.Input({"input": np.array([4])}), "output": nir.Output({"output": np.array([4])})}
    chain = ("input", *names, "output")
    nir.write("net.nir", nir.NIRGraph(ends | nodes, list(itertools.pairwise(chain)), type_check=False))
    for command in ("check", "inspect"):
        ended = cli.run(command, "net.nir", "--timesteps", 3)
        assert ended.code in (0, 1, 2) and "Traceback" not in ended.err
        sent = ended.out + ended.err
        assert MARKUP in sent and not set("\x1b\x07\u202e") & set(sent)


def test_a_strangers_report_sends_none_either(tiny: Path) -> None:
    cli.succeed("report", "tiny.lava", "--data", "samples.npz", "-o", "one")
    text = Path("one/report.json").read_text()
    Path("two.json").write_text(text.replace('"neuron1"', json.dumps(f"neuron1{TITLE}<script>{MARKUP}")))
    out = cli.succeed("report", "--compare", "one", "two.json", "-o", "both")
    assert "neuron1" in out and "[bold red]" in out and not set("\x1b\x07") & set(out)
    assert "<script>[bold" not in Path("both/compare.html").read_text()
