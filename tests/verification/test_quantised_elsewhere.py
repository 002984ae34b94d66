"""A net that Brevitas and torch.ao quantised, from its own layers to real Lava: nothing of it changes on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli import succeed

from snn2hw.ir import Conv, Linear
from snn2hw.ir.file import read_program

NET = '''
import brevitas.nn as qnn
import torch
from spikingjelly.activation_based import neuron
from torch import nn
from torch.ao.quantization import PerChannelMinMaxObserver


def torch_ao():
    """A float layer as torch.ao leaves it: whole numbers from -128 on, with a scale for each channel."""
    layer = nn.Linear(144, 12, bias=False)
    seen = PerChannelMinMaxObserver(ch_axis=0, dtype=torch.qint8, qscheme=torch.per_channel_symmetric)
    scale, _ = (seen(layer.weight), seen.calculate_qparams())[1]
    k = (layer.weight / scale[:, None]).round().clamp(-128, 127)
    assert k.min() == -128
    layer.weight = nn.Parameter(k * scale[:, None])
    return layer


def build():
    torch.manual_seed(3)
    first = qnn.QuantConv2d(1, 4, 3, bias=True, weight_bit_width=4)
    last = qnn.QuantLinear(12, 5, bias=True, weight_bit_width=8)
    return nn.Sequential(first, neuron.IFNode(), nn.Flatten(), torch_ao(), neuron.IFNode(v_threshold=0.3), last).eval()
'''


@pytest.mark.usefixtures("tiny")
def test_a_net_quantised_elsewhere_is_exact_in_lava_and_loses_nothing() -> None:
    Path("elsewhere.py").write_text(NET)
    x = np.random.default_rng(0).integers(0, 17, (6, 1, 8, 8)).astype(np.float32) / 16
    np.savez("x.npz", x=x)
    net = ("elsewhere:build", "--input-shape", "1,8,8", "--timesteps", 4, "--calibrate", "x.npz")
    out = succeed("export", *net, "--target", "lava", "-o", "net.lava")
    assert "Grids kept: 3 of 3 layers, whose weights are the model's own." in out
    layers = [n for n in read_program(Path("net.lava/program.npz")).graph if isinstance(n, Conv | Linear)]
    assert [int(layer.weight.min()) for layer in layers][:2] == [-7, -128]
    out = succeed("verify", "net.lava", "--data", "x.npz", "--json", "verify.json")
    assert "Verdict: exact for these 6 samples." in out
    assert "integers-vs-network: the weights of 3 of 3 layers lie on a grid and were not moved." in out
    assert "program-vs-float-torch" in out and out.split("program-vs-float-torch")[1].split("│")[3].strip() == "0"


@pytest.mark.usefixtures("tiny")
def test_a_grid_that_needs_more_bits_than_are_given_is_told() -> None:
    Path("elsewhere.py").write_text(NET)
    np.savez("x.npz", x=np.random.default_rng(0).integers(0, 2, (6, 1, 8, 8)).astype(np.float32))
    net = ("elsewhere:build", "--input-shape", "1,8,8", "--timesteps", 4, "--calibrate", "x.npz")
    out = succeed("export", *net, "--target", "nir", "-o", "net.nir", "--weight-bits", "4")
    assert "Grids kept: 1 of 3 layers, whose weights are the model's own; rounded: 3, 5." in out
