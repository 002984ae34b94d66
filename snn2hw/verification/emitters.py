"""Emitters: the nodes of a program that make integers of integers, one number each. What is true of them is exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import nir
import numpy as np

from snn2hw import ir
from snn2hw.network.layout import pair, takes_largest
from snn2hw.network.neuron_rule import compact
from snn2hw.verification.findings import Findings
from snn2hw.verification.roundings import thresholds


@dataclass(frozen=True, kw_only=True)
class Emission:
    """What the program emits for a node of the network: the sum of `nodes` is `lattice` times the real value.

    flat: the network flattens it; the program's nodes keep their shapes. current: it is what a relay hands on.
    """

    nodes: tuple[str, ...]
    lattice: float
    flat: bool = False
    current: bool = False


Pool: TypeAlias = nir.SumPool2d | nir.AvgPool2d


def judge_pool(findings: Findings, name: str, node: Pool, shape: ir.Shape, before: Emission) -> None:
    """Judge the pool that stands for `node`, which reads `before` and emits `shape`."""
    pool = find_pool(findings, name, node, shape)
    if pool is not None:
        findings.inputs(name, expected=before.nodes, actual=pool.inputs)
        judge_window(findings, pool, node)


def find_pool(findings: Findings, name: str, node: Pool, shape: ir.Shape) -> ir.SumPool | ir.MaxPool | None:
    """The pool of the program that stands for `node`, of its kind and shape; else None, which is reported."""
    if takes_largest(node):
        return findings.node(name, ir.MaxPool, shape)
    return findings.node(name, ir.SumPool, shape)


def judge_window(findings: Findings, pool: ir.SumPool | ir.MaxPool, node: Pool) -> None:
    """Judge the window of a pool alone."""
    for what, value in (("kernel", node.kernel_size), ("stride", node.stride), ("padding", node.padding)):
        findings.same(pool.name, what, expected=pair(value), actual=getattr(pool, what))


def judge_factor(findings: Findings, name: str, node: nir.Scale, shape: ir.Shape, before: Emission) -> None:
    """Judge the factor that stands for `node`. A factor of 1 may be a merge too: NIR has no other word for it."""
    factors = np.unique(compact(node.scale))
    merge = np.all(factors == 1) and not isinstance(findings.nodes.get(name), ir.Scale)
    scale = findings.node(name, ir.Merge if merge else ir.Scale, shape)
    if scale is not None:
        findings.inputs(name, expected=before.nodes, actual=scale.inputs)
        for factor in factors:
            actual = scale.factor if isinstance(scale, ir.Scale) else 1
            findings.same(name, "factor", expected=float(factor), actual=actual)


def judge_gate(findings: Findings, name: str, node: nir.Threshold, shape: ir.Shape, before: Emission) -> None:
    """Judge the memoryless threshold that stands for `node`."""
    gate = findings.node(name, ir.Threshold, shape)
    if gate is not None:
        findings.inputs(name, expected=before.nodes, actual=gate.inputs)
        for level in np.unique(compact(node.threshold)):
            expected, wrong = thresholds(np.array(gate.threshold), level * before.lattice, at_least=False)
            stated = float(expected) if wrong else gate.threshold
            findings.same(name, "threshold", expected=stated, actual=gate.threshold)


def window_size(node: Pool) -> int:
    """How many values a pool adds up."""
    height, width = pair(node.kernel_size)
    return height * width
