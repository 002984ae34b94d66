"""JSON that this project wrote, or somebody else: read strictly, by its schema, before anything is made of it."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn, TypeVar

from pydantic import TypeAdapter, ValidationError

Content = TypeVar("Content")


def read_json(content: bytes, schema: type[Content]) -> Content:
    """A JSON document as an object of `schema`: a dataclass or a TypedDict.

    Types are not converted, and every number is finite. Raises ValueError that names the first entry at fault.
    """
    try:
        json.loads(content, parse_constant=_refuse, parse_float=_finite)
        return TypeAdapter(schema).validate_json(content, strict=True)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(f"{where}: {first['msg']}") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _finite(digits: str) -> Any:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits} is too large for a number")
    return number
