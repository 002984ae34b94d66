"""What a user says about a network whose file does not: --arch, --connect, --iand-order, --neuron, and sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from snn2hw.data.aliases import Shape
from snn2hw.errors import OptionError
from snn2hw.models.sew_resnet import IMAGENET_NETS

FAMILIES = {"sew": "sew_resnet", "spiking": "spiking_resnet"}
NAMED_NETS = {f"{prefix}_{name}": family for prefix, family in FAMILIES.items() for name in IMAGENET_NETS}
ARCHS = (*FAMILIES.values(), "plain_net", *NAMED_NETS)
NEURONS = {"IF": "IFNode", "LIF": "LIFNode", "PLIF": "ParametricLIFNode"}
DEFAULTS: dict[str, Any] = {"v_threshold": 1.0, "v_reset": 0.0, "tau": 2.0, "decay_input": True}
"""What SpikingJelly's neurons have unless they are told otherwise."""
PARAMETERS = {
    "IFNode": ("v_threshold", "v_reset"),
    "LIFNode": ("v_threshold", "v_reset", "tau", "decay_input"),
    "ParametricLIFNode": ("v_threshold", "v_reset", "decay_input"),
}


@dataclass(frozen=True, kw_only=True)
class Hints:
    """What a user says about a network whose file does not: the options of the same names.

    arch: one of ARCHS. connect: ADD, AND, IAND. iand_order: paper or reversed. neuron: IF, LIF or PLIF, with parameters
    as in "LIF,tau=1.5,v_reset=none". input_shape: [C,H,W]. `default_timesteps` counts where nothing else says T.
    """

    arch: str | None = None
    connect: str | None = None
    iand_order: str | None = None
    neuron: str | None = None
    input_shape: Shape | None = None
    timesteps: int | None = None
    default_timesteps: int | None = None

    def of_network(self) -> list[str]:
        """The options among these that say which network it is, as far as they are given."""
        options = {
            "--arch": self.arch,
            "--connect": self.connect,
            "--iand-order": self.iand_order,
            "--neuron": self.neuron,
        }
        return [option for option, value in options.items() if value is not None]


def parse_neuron(text: str) -> tuple[str, dict[str, Any]]:
    """Kind and parameters of a --neuron. Raises OptionError for what it cannot mean."""
    name, *parts = (part.strip() for part in text.split(","))
    kind = NEURONS.get(name.upper())
    if kind is None:
        raise OptionError(f"--neuron {text}: choose {', '.join(NEURONS)}.")
    values: dict[str, Any] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if key not in PARAMETERS[kind] or not equals:
            raise OptionError(
                f"--neuron {text}: {part!r} is none of {name}'s: {', '.join(PARAMETERS[kind])}, name=value."
            )
        try:
            values[key] = _SPELLED[value.lower()] if value.lower() in _SPELLED else float(value)
        except ValueError:
            raise OptionError(f"--neuron {text}: {value!r} is no value for {key}.") from None
    return kind, values


_SPELLED: dict[str, Any] = {"none": None, "true": True, "false": False}
