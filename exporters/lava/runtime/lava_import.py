"""Lets lava-nc 0.10.0 run in Python 3.11 and later and with numpy 2, with its installed files as they are.

Two things stand in the way. ByteEncoder in lava/magma/compiler/var_model.py is a dataclass without a hash, and objects
of it are defaults of other dataclasses' fields, which Python 3.11 refuses as it refuses a list. And ReshapePort calls
numpy.reshape with an argument, newshape, that numpy 2.4 knows no more.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

MODULE = "lava.magma.compiler.var_model"
UNHASHED = "ByteEncoder"


def make_lava_importable() -> None:
    """Give the class its hash and the port its reshape. To be called before anything else of Lava is imported."""
    original: Any = dataclasses.dataclass

    def dataclass(cls: Any = None, /, **options: Any) -> Any:
        if cls is not None and (cls.__module__, cls.__name__) == (MODULE, UNHASHED):
            options["unsafe_hash"] = True
        return original(cls, **options)

    dataclasses.dataclass = dataclass  # while this one module is imported
    try:
        importlib.import_module(MODULE)
    finally:
        dataclasses.dataclass = original
    from lava.magma.core.process.ports.ports import ReshapePort

    ReshapePort.get_transform_func_fwd = lambda port: functools.partial(_reshape, shape=port.shape)
    ReshapePort.get_transform_func_bwd = lambda port: functools.partial(_reshape, shape=port.old_shape)


def _reshape(data: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    return np.reshape(data, shape)
