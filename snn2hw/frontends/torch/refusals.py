"""Why a layer or an operation has no place on a spiking chip, and what to write instead.

Operations are looked up by the names that torch has inside; where users know another, messages say that one.
"""

from __future__ import annotations

from snn2hw.frontends import neurons
from snn2hw.frontends.torch.builder import Refused
from snn2hw.frontends.torch.call import Call

Reason = tuple[str, str]

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
_REDUCES = (
    "weighs the pixels of an image by their distance",
    "Pick pixels (mode='nearest'), or use AvgPool2d for the mean of a window",
)
_RECURRENT = ("keeps a state that is no neuron's", "Use spiking neurons and feed-forward layers")
_COMPARES = ("compares values", "Let a spiking neuron do it: it fires above its threshold")
_CHOOSES = (
    "chooses between values by others",
    "Gate spikes with spikes: a * b for AND, (1 - a) * b for b AND NOT a",
)
_LOGIC = (
    "computes with truth values",
    "Write a * b for AND, torch.maximum(a, b) for OR, 1 - a for NOT, relu(a - b) for a AND NOT b",
)
_DIVIDES = ("divides and rounds", "Fold constants into weights; a mean over a window is AvgPool2d")
_LARGEST = (
    "looks for the largest value",
    "Use MaxPool2d over spikes, the mean or sum over time for a read-out, and compare logits behind the model",
)
_RANDOM = ("draws random numbers", "Let the forward compute the same on every run")
_ADDS_UP = ("adds up or multiplies along a dimension", "Let a neuron add up over time; over space use a convolution")
_PICKS = ("picks values by indices that the model computes", "Use indices that are constants")
_NUMBER = ("reads a number out of the data", "Leave it a tensor, and compute with sizes and constants")
_WINDOWS = ("writes out the windows of an image", "Use the convolution or pool that they are for")
_ONE_AXIS = ("works on other dimensions than images have", "Use the layer for [N, C, H, W]")

LAYER_REASONS: dict[tuple[str, ...], Reason] = {
    ("Sigmoid", "Tanh", "GELU", "SiLU", "ELU", "LeakyReLU", "PReLU", "Softplus"): _GATE,
    ("Softmax", "LogSoftmax", "Softmax2d", "LayerNorm", "GroupNorm", "InstanceNorm2d", "RMSNorm"): _NORMALISES,
    ("MultiheadAttention", "TransformerEncoderLayer", "Bilinear"): _ATTENTION,
    ("Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d", "ConvTranspose2d"): _ENLARGES,
    ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"): _RECURRENT,
    ("Conv3d", "BatchNorm3d", "MaxPool3d", "AvgPool3d"): _ONE_AXIS,
}
OPERATION_REASONS: dict[tuple[str, ...], Reason] = {
    (
        *("sigmoid", "tanh", "exp", "log", "sqrt", "rsqrt", "pow", "square", "abs", "sign", "round", "floor", "ceil"),
        *("gelu", "silu", "elu", "selu", "celu", "leaky_relu", "prelu", "rrelu", "mish", "softplus"),
        *("hardswish", "hardsigmoid", "logsigmoid", "threshold", "sin", "cos", "erf", "reciprocal", "glu"),
    ): _GATE,
    (
        *("softmax", "log_softmax", "logsumexp", "layer_norm", "group_norm", "instance_norm", "rms_norm", "norm"),
        *("normalize", "var", "std", "std_mean", "var_mean", "cosine_similarity"),
    ): _NORMALISES,
    (
        *("matmul", "bmm", "einsum", "mm", "mv", "addmm", "baddbmm", "outer", "bilinear", "cdist", "dot"),
        *("scaled_dot_product_attention", "addcmul", "lerp"),
    ): _ATTENTION,
    ("interpolate", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "repeat_interleave"): _ENLARGES,
    ("lstm", "gru", "rnn_tanh", "rnn_relu"): _RECURRENT,
    ("ne", "isclose", "heaviside"): _COMPARES,
    ("where", "masked_fill", "masked_select"): _CHOOSES,
    ("any", "all"): _LOGIC,
    ("floor_divide", "remainder", "fmod"): _DIVIDES,
    ("min", "amin", "argmax", "argmin", "topk", "sort", "argsort", "median", "kthvalue"): _LARGEST,
    ("bernoulli", "rand_like", "randn_like", "normal"): _RANDOM,
    ("cumsum", "cumprod", "prod"): _ADDS_UP,
    ("gather", "scatter", "scatter_add", "embedding", "index_put", "take", "grid_sample"): _PICKS,
    ("unfold", "fold"): _WINDOWS,
    ("item",): _NUMBER,
    ("conv3d", "max_pool3d", "adaptive_max_pool3d", "avg_pool3d"): _ONE_AXIS,
}
USERS_NAMES = {
    "im2col": "unfold",
    "col2im": "fold",
    "grid_sampler": "grid_sample",
    "linalg_vector_norm": "norm",
    "local_scalar_dense": "item",
    "log_sigmoid": "logsigmoid",
}


def unknown_operation(call: Call) -> Refused:
    """The blocker for an operator without a rule, by the layer where it is one."""
    kind = call.kind("")
    for kinds, (reason, advice) in LAYER_REASONS.items():
        if kind in kinds:
            return call.refuse(f"layers of type {kind} are not supported", f"It {reason}. {advice}")
    name = users_name(call.operator)
    problem = f"the operation {name}{f' of {kind}' if kind else ''} is not supported"
    for names, (reason, advice) in OPERATION_REASONS.items():
        if name in names:
            if name == "interpolate" and not enlarges(call):
                reason, advice = _REDUCES
            return call.refuse(problem, f"It {reason}. {advice}")
    return call.refuse(
        problem,
        "Supported are convolutions, Linear, BatchNorm, pools, +, -, *, 1 - x, relu and cat of spikes, whatever moves "
        f"elements, means and sums over space and time, and the neurons {', '.join(neurons.known_neurons())}",
    )


def enlarges(call: Call) -> bool:
    """Whether a call is interpolate to a larger image."""
    if users_name(call.operator) != "interpolate":
        return False
    before = tuple(call.node.all_input_nodes[0].meta["val"].shape)
    return any(new > old for old, new in zip(before, call.shape, strict=True))


def users_name(operator: str) -> str:
    """What torch.nn.functional calls an operator that torch calls otherwise inside."""
    name = operator.strip("_").removeprefix("native_")
    if name.startswith("upsample_"):
        return "interpolate"
    return USERS_NAMES.get(name, name)
