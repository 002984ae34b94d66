"""Why a layer or an operation has no place on a spiking chip, and what to write instead."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

from snn2hw.frontends import neurons
from snn2hw.frontends.torch.builder import Refused
from snn2hw.frontends.torch.functional import parameters_only
from snn2hw.frontends.torch.layers import RULES, has_hooks

_GATE = ("computes with real numbers on every step", "Use a spiking neuron in its place and train with that")
_NORMALISES = ("normalises by statistics of its input on every step", "Use BatchNorm2d, which folds into a convolution")
_ATTENTION = (
    "multiplies activations with each other",
    "Chips multiply spikes by fixed weights only: use convolutions, or AND of spikes (a * b)",
)
_ENLARGES = (
    "makes an image larger, for which NIR has no node",
    "Compute at the lower resolution, or resize in front of the model or behind it",
)
_RECURRENT = ("keeps a state that is no neuron's", "Use spiking neurons and feed-forward layers")
_COMPARES = ("compares values", "Let a spiking neuron do it: it fires above its threshold")
_LOGIC = ("computes with truth values", "Write a * b for AND, 1 - a for NOT, relu(a - b) for a AND NOT b")
_DIVIDES = ("divides", "Fold constants into weights; a mean over a window is AvgPool2d")
_MOVES = ("moves values between dimensions", "Keep the order [N, C, H, W]; only x.flatten(1) has a counterpart")
_PICKS = ("takes a tensor apart", "Compute each part by a convolution of its own")
_FLOAT_POOL = ("pools to a given size by windows of different sizes", "Use MaxPool2d")
_ONE_AXIS = ("works on other dimensions than images have", "Use the layer for [N, C, H, W]")

LAYER_REASONS: dict[tuple[str, ...], tuple[str, str]] = {
    ("Sigmoid", "Tanh", "GELU", "SiLU", "ELU", "LeakyReLU", "PReLU", "Hardtanh", "ReLU6", "Softplus"): _GATE,
    ("Softmax", "LogSoftmax", "Softmax2d", "LayerNorm", "GroupNorm", "InstanceNorm2d"): _NORMALISES,
    ("MultiheadAttention", "TransformerEncoderLayer", "Bilinear"): _ATTENTION,
    ("Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d", "ConvTranspose2d", "PixelShuffle"): _ENLARGES,
    ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"): _RECURRENT,
    ("AdaptiveMaxPool2d",): _FLOAT_POOL,
    ("Conv1d", "Conv3d", "BatchNorm1d", "BatchNorm3d", "MaxPool1d", "AvgPool1d", "AdaptiveAvgPool1d"): _ONE_AXIS,
}
OPERATION_REASONS: dict[tuple[str, ...], tuple[str, str]] = {
    ("sigmoid", "tanh", "exp", "log", "sqrt", "pow", "gelu", "silu", "elu", "leaky_relu", "clamp", "abs"): _GATE,
    ("softmax", "log_softmax", "layer_norm", "group_norm", "instance_norm", "normalize", "var", "std"): _NORMALISES,
    ("matmul", "bmm", "einsum", "mm", "baddbmm", "scaled_dot_product_attention"): _ATTENTION,
    (
        "interpolate",
        "upsample",
        "conv_transpose2d",
        "pixel_shuffle",
        "repeat_interleave",
        "repeat",
        "expand",
    ): _ENLARGES,
    ("gt", "ge", "lt", "le", "eq", "ne", "where", "maximum", "minimum"): _COMPARES,
    ("logical_and", "logical_or", "logical_not", "logical_xor", "and_", "or_", "xor", "invert"): _LOGIC,
    ("div", "truediv", "floordiv", "true_divide", "itruediv"): _DIVIDES,
    ("permute", "transpose", "unsqueeze", "stack", "movedim"): _MOVES,
    ("chunk", "split", "narrow", "select", "unbind", "index_select", "gather", "max", "topk"): _PICKS,
}


def unknown_layer(path: str, module: nn.Module) -> Refused:
    """The blocker for a layer without a rule."""
    kind = type(module).__name__
    if has_hooks(module):
        return Refused(path, f"this {kind} has forward hooks", "Remove them (remove_weight_norm for a weight norm)")
    problem = f"layers of type {kind} are not supported"
    for kinds, (reason, advice) in LAYER_REASONS.items():
        if kind in kinds:
            return Refused(path, problem, f"It {reason}. {advice}")
    layers = ", ".join(layer.__name__ for layer in RULES)
    return Refused(path, problem, f"Supported are {layers} and the neurons {', '.join(neurons.known_neurons())}")


def unknown_operation(path: str, node: fx.Node) -> Refused:
    """The blocker for an operation without a rule."""
    target: Any = node.target
    name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
    if target in parameters_only():
        return Refused(
            path, f"the operation {name} with computed or unusual parameters", "Use a plain layer in its place"
        )
    problem = f"the operation {name} is not supported"
    for names, (reason, advice) in OPERATION_REASONS.items():
        if name.strip("_") in names or name in names:
            return Refused(path, problem, f"It {reason}. {advice}")
    return Refused(
        path,
        problem,
        "Supported between layers are +, -, *, 1 - x, relu, cat of spikes, flatten, the mean over space and over time",
    )
