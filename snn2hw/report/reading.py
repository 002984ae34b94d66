"""A report.json as it was written, of this version of its schema or of the one before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from snn2hw.documents import read_json
from snn2hw.errors import OptionError
from snn2hw.mapping.placement import RESOURCES
from snn2hw.report.document import Report
from snn2hw.report.mapping import core_ranges
from snn2hw.targets import known_chips, load_target

BEFORE = "snn2hw.report/1"
ADDED = ("answers", "paired", "membranes", "headline", "neurobench")
"""What version 2 holds and version 1 did not, but for lists, which are then empty."""
ADDED_LISTS = ("confusion", "classes", "early_exits", "efficiency")


def read_report(path: Path) -> Report:
    """A report.json, or the one in a folder. Raises OptionError if there is none, or if it is not of the schema."""
    file = path / "report.json" if path.is_dir() else path
    try:
        document = json.loads(file.read_bytes())
        if isinstance(document, dict) and document.get("schema") == BEFORE:
            document = _of_version_1(document)
        return read_json(json.dumps(document).encode(), Report)
    except FileNotFoundError:
        raise OptionError(f"--compare {path}: there is no {file.name}. `snn2hw report` writes one.") from None
    except OSError as error:
        raise OptionError(f"--compare {path}: {file.name} cannot be read ({error.strerror}).") from None
    except ValueError as error:
        reason = str(error)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
    raise OptionError(
        f"--compare {path}: this is no report of schema snn2hw.report/2 or /1 ({reason}). Make it again with "
        "`snn2hw report`."
    )


def _of_version_1(document: dict[str, Any]) -> dict[str, Any]:
    """The same report as version 2 would hold it, without what it did not count."""
    for mapping in document["mappings"]:
        placement = mapping["placement"]
        listed = placement.pop("core_list") if placement else []
        kinds, cores = core_ranges(
            (core["layer"], tuple(core[name] for name in RESOURCES), core["state"]) for core in listed
        )
        mapping["kinds"], mapping["cores"] = [vars(kind) for kind in kinds], cores
        wide, high, per_tile = mapping["mesh"]
        known = mapping["chip"] in known_chips()
        mapping["cores_per_chip"] = load_target(mapping["chip"]).cores_per_chip if known else wide * high * per_tile
        if mapping["traffic"]:
            mapping["traffic"]["received_most"] = max(mapping["traffic"].pop("received"), default=0)
    units = [layer["unit"] for layer in document["events"]["layers"] if layer["unit"]]
    for layer in (*units, *document["activity"]):
        layer["rates"] = []
    for layer in document["mismatches"]:
        layer["first"] = None
    return document | dict.fromkeys(ADDED) | {name: [] for name in ADDED_LISTS} | {"schema": "snn2hw.report/2"}
