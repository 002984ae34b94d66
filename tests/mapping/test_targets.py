"""Chips: what their files say, and which files are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from snn2hw.errors import OptionError
from snn2hw.targets import FOLDER, LIMITS, known_chips, load_target, read_target


def changed(folder: Path, old: str, new: str) -> Path:
    """The file of Loihi 2 with a part of its text replaced."""
    text = (FOLDER / "loihi2.toml").read_text()
    assert old in text
    path = folder / "mine.toml"
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize("name", known_chips())
def test_every_limit_and_system_has_a_source(name: str) -> None:
    chip = load_target(name)
    known = [limit for limit in LIMITS if getattr(chip, limit) is not None]
    assert all(chip.sources[entry] for entry in (*known, *chip.systems))


@pytest.mark.parametrize("name", known_chips())
def test_a_limit_that_is_not_known_is_absent_and_said(name: str) -> None:
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


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("neurons_per_core = { value = 8192", "neurons_per_core = { value = -8192", "neurons_per_core is -8192"),
        ("neurons_per_core = { value = 8192", "neurons_per_core = { value = 0", "neurons_per_core is 0"),
        ("neurons_per_core = { value = 8192", "neurons_per_core = { value = 8.5", "neurons_per_core is 8.5"),
        ("neurons_per_core = { value = 8192", "neurons_per_core = { value = true", "neurons_per_core is True"),
        ("neurons_per_core = {", "neurones_per_core = {", "unknown limit neurones_per_core"),
        ("neurons_per_core = {", "# {", "the limit neurons_per_core is missing"),
        ('{ chips = 8, source = "Intel\'s announcement of 2022" }', "8", "Kapoho Point has no source"),
        ("chips = 8,", "chips = -8,", "Kapoho Point is -8"),
        ("mesh_height = { value = 16", "mesh_height = { value = 4", "cores_per_chip is 120, but its mesh holds 32"),
        ("[limits]", "[limits", "this is not TOML"),
    ],
)
def test_a_wrong_file_is_refused_by_the_name_of_what_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(OptionError, match=f"mine.toml: {message}"):
        read_target(changed(tmp_path, old, new))


def test_a_chip_may_have_no_systems(tmp_path: Path) -> None:
    assert read_target(changed(tmp_path, "[systems]", "[others]")).systems == {}
