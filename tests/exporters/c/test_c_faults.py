"""What is wrong in the sources is found, by layer, step and index: by the self-test, and by whoever compares."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from written import run, self_test, trained, write

from snn2hw.data.load import load_samples
from snn2hw.engines import fast
from snn2hw.verification.comparison import compare

LAYER = "layer1.0.neuron2"
FAULTS = {
    "weight": ("parameters.c", r"(snn_w0_3_layer1_0_neuron2\[\d+\] = \{\n)(-?\d+)", r"\g<1>-127"),
    "threshold": ("network.c", r"(v_3_layer1_0_neuron2\[i\] \+ u;\s+const int spike = v > )(\d+)", r"\g<1>999"),
    "reset": ("network.c", r"(v_3_layer1_0_neuron2\[i\] = spike \? )0 :", r"\g<1>64 :"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_changed_number_is_found_with_its_layer_step_and_index(fault: str, tmp_path: Path) -> None:
    samples = load_samples("digits", (1, 8, 8))[:20]
    program = trained("add")
    write(program, tmp_path / "c", samples[:4], kernels="events")
    name, pattern, change = FAULTS[fault]
    text = (tmp_path / "c" / name).read_text()
    changed, count = re.subn(pattern, change, text, count=1)
    assert count == 1 and changed != text
    (tmp_path / "c" / name).write_text(changed)
    expected, actual = fast.simulate(program, samples), run(tmp_path / "c", samples)
    comparison = compare(("c", "program"), program, expected=expected, actual=actual, exact=True)
    wrong = [layer for layer in comparison.layers if layer.mismatches]
    assert wrong[0].name == LAYER and wrong[0].first is not None
    code, said = self_test(tmp_path / "c")
    found = re.match(
        r"layer layer1\.0\.neuron2, sample (\d), step (\d), index \[(\d+), (\d), (\d)\]: expected ([01]), got", said
    )
    assert code == 1 and found
    sample, step, *index = map(int, found.groups()[:5])
    assert expected[LAYER][(sample, step, *index)] == int(found[6]) != actual[LAYER][(sample, step, *index)]


def test_a_step_too_few_is_found_in_the_logits(tmp_path: Path) -> None:
    samples = load_samples("digits", (1, 8, 8))[:2]
    program = trained("add")
    write(program, tmp_path / "c", samples)
    header = tmp_path / "c" / "network.h"
    header.write_text(header.read_text().replace("#define SNN_STEPS 4", "#define SNN_STEPS 3"))
    code, said = self_test(tmp_path / "c")
    assert code == 1 and said.startswith("logits, sample 0, index [")
    assert np.abs(fast.simulate(program, samples)["logits"]).max() > 0
