"""Numerics: what chips' files say of their arithmetic, and what program.npz holds of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nets import NEURONS, compile_model, random_samples, residual_net

from snn2hw.errors import BundleError, OptionError
from snn2hw.ir.file import read_program, write_program
from snn2hw.ir.numerics import load_numerics, numerics_from
from snn2hw.pipeline import Options
from snn2hw.targets import all_chips, known_chips, load_target

GENERIC = "generic-int8"


def test_loihi_computes_as_lava_does() -> None:
    one, two = load_numerics("loihi1"), load_numerics("loihi2")
    assert (two.weight_bits, two.membrane_shift, two.decay_bits) == (8, 6, 12)
    assert (two.input_limit, two.membrane_limit, two.threshold_limit) == (2**17, 2**23, 2**17)
    assert two.bias_max == 4095 * 2**7 and two.largest_payload == 2**31 - 1
    assert one == replace(two, chip="loihi1", payload_bits=1, graded_spikes=False) and one.largest_payload == 1
    assert load_numerics() == two


def test_a_chip_without_loihis_formats_has_32_bits_for_states_and_biases() -> None:
    generic = load_numerics(GENERIC)
    assert generic.bias_max == 2**31 - 1 and generic.bias_exponent_max == 0
    assert generic.membrane_limit == 2**31 == generic.input_limit << generic.membrane_shift


def test_int32_sees_what_leaves_the_range_of_loihi_but_not_that_of_32_bits() -> None:
    seen = {chip: load_numerics(chip).int32_sees_overflow for chip in all_chips()}
    assert seen == {"loihi1": True, "loihi2": True, GENERIC: False}


def test_a_chip_without_limits_has_numerics_but_no_cores() -> None:
    assert set(all_chips()) - set(known_chips()) == {GENERIC}
    with pytest.raises(OptionError, match=f"'{GENERIC}'.*no cores.*Known are loihi1, loihi2"):
        load_target(GENERIC)


def test_an_unknown_chip_is_told_those_there_are() -> None:
    with pytest.raises(OptionError, match=r"there is no chip 'loihi3'\. Known are generic-int8, loihi1, loihi2"):
        Options(timesteps=4, chip="loihi3")


# program.npz


def rewritten(folder: Path, change: Any) -> Path:
    """A program file whose JSON `change` has altered."""
    path = folder / "program.npz"
    model = residual_net("ADD", NEURONS["if"], blocks=((2, 1),))
    write_program(compile_model(model, random_samples(2), timesteps=2, chip=GENERIC)[1], path)
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    text = json.loads(str(arrays.pop("program")))
    change(text)
    np.savez(path, program=np.array(json.dumps(text)), **arrays)
    return path


def test_a_program_remembers_the_arithmetic_it_was_compiled_for(tmp_path: Path) -> None:
    assert read_program(rewritten(tmp_path, lambda text: None)).numerics == load_numerics(GENERIC)


def test_a_program_that_says_nothing_is_for_loihi_2(tmp_path: Path) -> None:
    model = residual_net("ADD", NEURONS["if"], blocks=((2, 1),))
    path = tmp_path / "program.npz"
    write_program(compile_model(model, random_samples(2), timesteps=2)[1], path)
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    text = json.loads(str(arrays.pop("program")))
    assert numerics_from(text.pop("numerics")) == load_numerics("loihi2")
    np.savez(path, program=np.array(json.dumps(text)), **arrays)
    assert read_program(path).numerics == load_numerics("loihi2")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text["numerics"].update(decay_bits=10),
        lambda text: text["numerics"].update(membrane_limit="large"),
        lambda text: text["numerics"].pop("bias_mantissa_max"),
        lambda text: text.update(numerics=[1, 2]),
    ],
)
def test_a_program_of_an_arithmetic_that_is_none_is_refused(tmp_path: Path, change: Any) -> None:
    with pytest.raises(BundleError, match=r"program.npz: .*Export again\."):
        read_program(rewritten(tmp_path, change))
