"""Hooks of the documentation site: the page of the command line is written from the commands themselves."""

from __future__ import annotations

import re
from typing import Any

import typer
import typer.cli
import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from snn2hw.cli import app

REPOSITORY = re.compile(r"\]\(\.\./((?:examples|snn2hw|benchmarks|tests)/[^)]*)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add reference/commands.md: every command with its arguments and options, as --help has them."""
    command: Any = typer.main.get_command(app)
    context = typer.Context(command)
    text = typer.cli.get_docs_for_click(obj=command, ctx=context, name="snn2hw", title="The command line")
    files.append(File.generated(config, "reference/commands.md", content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Files of the repository that a page links to lie outside the site: their path stands there instead."""
    return REPOSITORY.sub(r" (`\1`)", markdown.replace("](../README.md)", "](index.md)"))
