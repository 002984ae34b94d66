"""The C sources of a plan: the templates of this folder, filled in, and its arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from snn2hw import ir
from snn2hw.exporters.c import names
from snn2hw.exporters.c.arrays import NO_TERMINATORS, SIZES, Array, has_strings, literal
from snn2hw.exporters.c.memory import Memory, has_memory, rows_type, sums_type, total_type
from snn2hw.exporters.c.parameters import Parameter, parameters_of
from snn2hw.exporters.c.plan import Convolved, Largest, Map, Plan, Pooled, Stage, weights_of
from snn2hw.exporters.c.vectors import Vectors, bits_of, packed

SHORT = {
    "uint8_t": "u8",
    "int8_t": "s8",
    "uint16_t": "u16",
    "int16_t": "s16",
    "uint32_t": "u32",
    "int32_t": "s32",
    "int64_t": "s64",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Sources:
    """What the templates are filled with: a plan, its memory, the prefix of all names, and a title."""

    plan: Plan
    memory: Memory
    prefix: str
    title: str

    def render(self, template: str, **more: Any) -> str:
        """A template of this folder, filled in."""
        return _environment().get_template(template).render(**self._values(), **more)

    def parameters(self) -> Iterator[str]:
        """parameters.c, part by part: it may be large."""
        return _defined("Weights and other constants of the layers.", "parameters.h", self.arrays())

    def parameters_header(self) -> str:
        """parameters.h: what parameters.c defines."""
        guard = f"{self.prefix.upper()}_PARAMETERS_H"
        return _declared("Weights and other constants of the layers.", guard, "<stdint.h>", self.arrays())

    def vectors(self, vectors: Vectors) -> Iterator[str]:
        """vectors.c, part by part."""
        return _defined("What the self-test runs, and what it expects.", "vectors.h", self._expected(vectors))

    def vectors_header(self, vectors: Vectors) -> str:
        """vectors.h: what vectors.c defines."""
        prefix = self.prefix.upper()
        counts = (
            f"#define {prefix}_VECTORS {len(vectors.payloads)}\n"
            f"#define {prefix}_VECTOR_FRAMES {vectors.payloads.shape[1]}"
            " /* of a sample; one is shown in every step */\n\n"
        )
        about = "What the self-test runs, and what it expects."
        return _declared(about, f"{prefix}_VECTORS_H", '"network.h"', self._expected(vectors), counts)

    def _expected(self, vectors: Vectors) -> list[Array]:
        arrays = [Array(name=f"{self.prefix}_vectors", ctype=self.plan.input.ctype, values=vectors.payloads)]
        for number, stage in enumerate(self.plan.stages, 1):
            if stage in self.plan.recorded:
                values = packed(stage, vectors)
                arrays.append(Array(name=f"{self.prefix}_expected_{number}", ctype="uint8_t", values=values))
        logits = vectors.spikes["logits"]
        shape = self.plan.program.graph.readout.shape
        last = logits if len(shape) == 1 else np.moveaxis(logits, 1, -1)
        total = total_type(self.plan, self.plan.readout)
        return [*arrays, Array(name=f"{self.prefix}_expected_logits", ctype=total, values=last)]

    def stem(self, stage: Stage) -> str:
        """What the names of a stage end in."""
        number = next(number for number, other in enumerate(self.plan.stages, 1) if other is stage)
        return names.identifier(number, stage.name)

    def arrays(self) -> list[Array]:
        """Every constant array of the network."""
        arrays = []
        for stage in self.plan.stages:
            stem = self.stem(stage)
            for number, term in enumerate(stage.terms):
                if isinstance(term, Convolved):
                    name = self._linked(f"w{number}_{stem}")
                    arrays.append(Array(name=name, ctype=weight_type(term), values=weights_of(term)))
            for each in parameters_of(stage):
                if each.values.size > 1:
                    arrays.append(Array(name=self._linked(f"{each.name}_{stem}"), ctype=each.ctype, values=each.values))
        return arrays

    def _linked(self, name: str) -> str:
        """The name of an array that other files see."""
        return f"{self.prefix}_{name}"

    def _values(self) -> dict[str, Any]:
        plan, memory = self.plan, self.memory
        readout = plan.readout
        node = plan.program.graph.readout
        terms = [(stage, term) for stage in plan.stages for term in stage.terms if isinstance(term, Convolved)]
        return {
            "P": self.prefix.upper(),
            "p": self.prefix,
            "title": names.comment(self.title),
            "plan": plan,
            "stages": plan.stages,
            "memory": memory,
            "steps": plan.program.schedule.timesteps,
            "input": plan.input,
            "input_size": SIZES[plan.input.ctype],
            "scale": repr(plan.program.graph.input.scale),
            "bounded": _bounds_of_input(plan.input),
            "numerics": plan.program.numerics,
            "limit": literal(plan.program.numerics.membrane_limit),
            "readout": readout,
            "total": total_type(plan, readout),
            "classes": node.first.stop if len(node.shape) == 1 else node.shape[0],
            "short": SHORT,
            "rows_type": rows_type(plan),
            "dots": sorted({(t.map.ctype, weight_type(t), sums_type(s)) for s, t in terms if t.kernel == "dense"}),
            "events": sorted(
                {(weight_type(t), sums_type(s), rows_type(plan)) for s, t in terms if t.kernel == "events"}
            ),
            "stem": self.stem,
            "bytes": SIZES.get,
            "comment": names.comment,
            "string": names.string,
            "literal": literal,
            "kind": kind,
            "size": lambda stage: int(np.prod(stage.shape)),
            "scratch": lambda name: "_".join((name.split()[0], SHORT[name.split()[1]])),
            "sums_type": sums_type,
            "charge_type": self._charge_type,
            "bits_of": bits_of,
            "half": lambda stage: literal((1 << stage.node.shift) >> 1),
            "has_memory": has_memory,
            "reset": lambda node: node.reset.value,
            "ctype": weight_type,
            "is_convolved": lambda term: isinstance(term, Convolved),
            "is_pooled": lambda term: isinstance(term, Pooled),
            "is_largest": lambda term: isinstance(term, Largest),
            "is_recorded": lambda stage: stage in plan.recorded,
            "reads_input": lambda stage: any(term.map is plan.input for term in stage.terms),
            "number_of": lambda stage, term: next(n for n, other in enumerate(stage.terms) if other is term),
            "at": self._at,
            "ring": _ring,
            "parameter": self._parameter,
            "weights": lambda stage, number: self._linked(f"w{number}_{self.stem(stage)}"),
        }

    def _at(self, values: Map) -> str:
        """The C expression of a pointer to a map."""
        if values is self.plan.input:
            return "input"
        place = self.memory.places[values.name]
        return f"(values_{SHORT[values.ctype]} + {place})" if place else f"values_{SHORT[values.ctype]}"

    def _parameter(self, stage: Stage, name: str) -> str:
        each = _find(stage, name)
        return each.expression(self.prefix, self.stem(stage))

    def _charge_type(self, stage: Stage) -> str:
        """The C type in which a neuron's step is computed: 64 bits where a step from legal states may leave 32."""
        return "int32_t" if self.plan.program.numerics.int32_sees_overflow else "int64_t"


def kind(stage: Stage) -> str:
    """What a stage applies to its sums, in a word."""
    match stage.node:
        case ir.Neuron():
            return "neuron"
        case ir.Threshold():
            return "threshold"
        case ir.Merge():
            return "merge"
        case ir.Relay():
            return "relay"
        case ir.Readout():
            return "readout"
        case None:
            return "sum"
        case _:
            assert_never(stage.node)


def weight_type(term: Convolved) -> str:
    """The C type of a layer's weights."""
    return f"int{8 * term.weight.dtype.itemsize}_t"


def _declared(about: str, guard: str, needed: str, arrays: Sequence[Array], more: str = "") -> str:
    declared = "".join(array.declaration() for array in arrays)
    return f"/* {about} */\n#ifndef {guard}\n#define {guard}\n\n#include {needed}\n\n{more}{declared}\n#endif\n"


def _defined(about: str, header: str, arrays: Sequence[Array]) -> Iterator[str]:
    yield f'/* {about} */\n#include "{header}"\n'
    if has_strings(arrays):
        yield NO_TERMINATORS
    for array in arrays:
        yield "\n" + array.definition()


def _find(stage: Stage, name: str) -> Parameter:
    return next(each for each in parameters_of(stage) if each.name == name)


def _bounds_of_input(values: Map) -> list[str]:
    """The C conditions under which an input is out of range, as far as its type can hold such a value."""
    bits = 8 * SIZES[values.ctype]
    least, most = (0, (1 << bits) - 1) if values.ctype.startswith("u") else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    low = [f"input[i] < {literal(values.low)}"] if values.low > least else []
    high = [f"input[i] > {literal(values.high)}"] if values.high < most else []
    return low + high


def _ring(stage: Stage, number: int) -> tuple[int, int]:
    """Where the listed events of a stage's term begin, and the counts of them."""
    before = [term for term in stage.terms[:number] if isinstance(term, Convolved)]
    events = sum(term.pixels * term.listed_per_pixel for term in before)
    return events, sum(term.rows * term.map.width for term in before)


def _environment() -> Environment:
    """Templates whose marks are not those of C, [[ value ]] and <% block %>."""
    return Environment(
        loader=PackageLoader("snn2hw.exporters.c"),
        undefined=StrictUndefined,
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="[[",
        variable_end_string="]]",
        comment_start_string="[#",
        comment_end_string="#]",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
