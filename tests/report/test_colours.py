"""The classes of figures stay apart for eyes that see no green, and in print without colours; in CIE L*a*b*."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
from plotly.offline import get_plotlyjs_version

from snn2hw.page.frame import PLOTLY, TEMPLATES
from snn2hw.page.plots import PALETTE, shades

DEUTERANOPIA = np.array(  # Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])


def linear(colour: str) -> np.ndarray:
    channels = np.array(list(bytes.fromhex(colour[1:]))) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    x, y, z = np.cbrt(np.maximum(TO_XYZ @ rgb / WHITE, 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def nearest(colours: list[np.ndarray]) -> float:
    return min(float(np.linalg.norm(lab(a) - lab(b))) for a, b in combinations(colours, 2))


def test_classes_stay_apart_without_green() -> None:
    assert nearest([np.clip(DEUTERANOPIA @ linear(colour), 0, 1) for colour in PALETTE]) > 15
    red_and_green = [np.clip(DEUTERANOPIA @ linear(colour), 0, 1) for colour in ("#d9534f", "#8a7a20")]
    assert nearest(red_and_green) < 15  # what the measure is to refuse


def test_classes_stay_apart_in_grey() -> None:
    lightness = sorted(float(lab(linear(colour))[0]) for colour in PALETTE)
    assert min(b - a for a, b in pairwise(lightness)) > 5


def test_steps_of_a_scale_grow_lighter() -> None:
    lightness = [float(lab(linear(colour))[0]) for colour in shades(7)]
    assert lightness == sorted(lightness) and min(b - a for a, b in pairwise(lightness)) > 3


def test_the_figures_are_written_for_the_plotly_that_draws_them() -> None:
    assert f"plotly.js (basic - minified) v{get_plotlyjs_version()}" in (TEMPLATES / PLOTLY).read_text()[:200]
