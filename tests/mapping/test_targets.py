"""Chips: what their files say, and which files are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from snn2hw.errors import OptionError
from snn2hw.ir.numerics import Numerics, load_numerics, read_numerics
from snn2hw.targets import FOLDER, LIMITS, Target, known_chips, load_target, read_target


def changed(folder: Path, old: str, new: str) -> Path:
    """The file of Loihi 2 with a part of its text replaced."""
    text = (FOLDER / "loihi2.toml").read_text()
    assert old in text
    path = folder / "mine.toml"
    path.write_text(text.replace(old, new))
    return path


def read_all(path: Path) -> tuple[Target, Numerics]:
    """A chip's limits and its arithmetic."""
    return read_target(path), read_numerics(path)


@pytest.mark.parametrize("name", known_chips())
def test_every_limit_and_system_has_a_source(name: str) -> None:
    chip = load_target(name)
    known = [limit for limit in LIMITS if getattr(chip, limit) is not None]
    assert all(chip.sources[entry] for entry in (*known, *chip.systems))


@pytest.mark.parametrize("name", known_chips())
def test_a_limit_that_is_not_known_is_absent_and_listed(name: str) -> None:
    chip = load_target(name)
    assert [limit for limit in LIMITS if getattr(chip, limit) is None] == [
        limit for limit in LIMITS if limit in chip.not_public
    ]


def test_the_chips_are_those_of_intel() -> None:
    assert known_chips() == ("loihi1", "loihi2")
    assert load_target("loihi1").systems == {"Nahuku": 32, "Pohoiki Springs": 768}
    assert load_target("loihi2").systems == {"Oheo Gulch": 1, "Kapoho Point": 8, "Hala Point": 1152}
    assert load_target("loihi2").input_axons_per_core is None


def test_an_unknown_chip_is_told_those_there_are() -> None:
    for name in ("loihi3", "../targets/loihi2", ""):
        with pytest.raises(OptionError, match="Known are loihi1, loihi2"):
            load_target(name)


WRONG = {
    "neurons_per_core = {": ("neurones_per_core = {", "unknown limit neurones_per_core"),
    "weight_bytes_per_core = {": ("# {", "the limit weight_bytes_per_core is missing"),
    '{ chips = 8, source = "Intel\'s announcement of 2022" }': ("8", "Kapoho Point has no source"),
    "chips = 8,": ("chips = -8,", "Kapoho Point is -8"),
    "mesh_height = { value = 16": ("mesh_height = { value = 4", "cores_per_chip is 120, but its mesh holds 32"),
    "input_limit = 131072": ("input_limit = -5", "input_limit is -5; it must be 1 to 33554432"),
    "threshold_limit = 131072": ("threshold_limit = 1.5", "threshold_limit is 1.5"),
    "graded_spikes = true": ("graded_spikes = 1", "graded_spikes is 1; it must be true or false"),
    "decay_bits = 12": ("decay_bits = 11", "decay_bits is 11; it must be 12"),
    "membrane_shift = 6": ("membrane_shift = true", "membrane_shift is True; it must be 6"),
    '"towards zero"': ('"down"', "leak_rounding is 'down'; it must be 'towards zero'"),
    "bias_exponent_max = 7": ("bias_exponent_max = 20", "bias_exponent_max is 20: the largest bias leaves 32 bits"),
    "weight_bits = 8\n": ("", "the key weight_bits of numerics is missing"),
    "decay_bits": ("decay_bit", "unknown key decay_bit of numerics"),
    "[numerics]": ("[arithmetic]", r"it has no table \[numerics\]"),
    'source = "the fixed': ('origin = "the fixed', "numerics has no source"),
}
"""A part of the file's text, what stands there instead, and what is told of it."""


@pytest.mark.parametrize("part", WRONG)
def test_a_wrong_file_is_refused_by_the_name_of_what_is_wrong(tmp_path: Path, part: str) -> None:
    replacement, message = WRONG[part]
    with pytest.raises(OptionError, match=f"mine.toml: {message}"):
        read_all(changed(tmp_path, part, replacement))


@pytest.mark.parametrize("read", [read_target, read_numerics])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(OptionError, match=r"mine.toml: this is not TOML"):
        read(changed(tmp_path, "[limits]", "[limits"))


@pytest.mark.parametrize(("value", "shown"), [("-8192", "-8192"), ("0", "0"), ("8.5", "8.5"), ("true", "True")])
def test_a_limit_is_a_whole_number_above_0(tmp_path: Path, value: str, shown: str) -> None:
    mine = changed(tmp_path, "neurons_per_core = { value = 8192", f"neurons_per_core = {{ value = {value}")
    with pytest.raises(OptionError, match=f"mine.toml: neurons_per_core is {shown}"):
        read_target(mine)


def test_a_file_of_other_numerics_is_read(tmp_path: Path) -> None:
    mine = read_numerics(changed(tmp_path, "input_limit = 131072", "input_limit = 4096"))
    assert mine == replace(load_numerics("loihi2"), chip="mine", input_limit=4096)


def test_a_chip_may_have_no_systems(tmp_path: Path) -> None:
    assert read_target(changed(tmp_path, "[systems]", "[others]")).systems == {}
