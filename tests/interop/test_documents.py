"""docs/nir.md says what the clients do today."""

from __future__ import annotations

from pathlib import Path

from clients_table import table

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/nir.md"


def test_the_table_of_clients_is_what_they_do() -> None:
    assert table() in DOCUMENT.read_text(), "python tests/clients_table.py prints the table for docs/nir.md"
