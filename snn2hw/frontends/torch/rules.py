"""Which rule lowers which ATen operator: the whole vocabulary of a captured model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from snn2hw.frontends.torch import arithmetic, layers, moves, pieces, pooling, reductions, spike_logic, spiking
from snn2hw.frontends.torch.call import Call

Rule = Callable[[Call], Any]

_LAYOUT = (
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "permute", "transpose", "t", "numpy_T", "movedim",
    "moveaxis", "swapaxes", "swapdims", "squeeze", "unsqueeze", "expand", "repeat", "tile", "select", "slice", "narrow",
    "chunk", "split", "split_with_sizes", "tensor_split", "unbind", "index", "index_select", "flip", "roll",
    "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "view_as", "reshape_as", "expand_as", "atleast_2d",
    "atleast_3d",
)  # fmt: skip
_SAME = (
    "contiguous", "clone", "detach", "alias", "lift_fresh", "lift_fresh_copy", "view_of", "positive",
)  # fmt: skip


def _all(rule: Rule, *names: str) -> dict[str, Rule]:
    return dict.fromkeys(names, rule)


RULES: dict[str, Rule] = {
    "neuron": spiking.neuron,
    "state": spiking.state,
    **_all(layers.conv2d, "conv2d"),
    **_all(layers.conv1d, "conv1d"),
    **_all(layers.linear, "linear"),
    **_all(layers.batch_norm, "batch_norm", "_native_batch_norm_legit_no_training"),
    **_all(pooling.avg_pool2d, "avg_pool2d"),
    **_all(pooling.avg_pool1d, "avg_pool1d"),
    **_all(pooling.adaptive_avg_pool2d, "adaptive_avg_pool2d"),
    **_all(pooling.adaptive_avg_pool1d, "adaptive_avg_pool1d"),
    **_all(pooling.max_pool2d, "max_pool2d"),
    **_all(pooling.max_pool1d, "max_pool1d"),
    **_all(pooling.max_pool_with_indices, "max_pool2d_with_indices", "max_pool1d_with_indices"),
    **_all(pooling.adaptive_max_pool, "adaptive_max_pool2d", "adaptive_max_pool1d"),
    **_all(arithmetic.add, "add"),
    **_all(arithmetic.subtract, "sub", "subtract"),
    **_all(arithmetic.subtract_from, "rsub"),
    **_all(arithmetic.negate, "neg", "negative"),
    **_all(arithmetic.multiply, "mul", "multiply"),
    **_all(arithmetic.divide, "div", "divide", "true_divide"),
    **_all(spike_logic.either, "maximum", "logical_or", "bitwise_or", "__or__"),
    **_all(spike_logic.both, "minimum", "logical_and", "bitwise_and", "__and__"),
    **_all(spike_logic.one_of, "logical_xor", "bitwise_xor", "__xor__"),
    **_all(spike_logic.invert, "logical_not", "bitwise_not"),
    **_all(spike_logic.maximum, "max", "amax"),
    **_all(spike_logic.above, "gt", "ge"),
    **_all(spike_logic.below, "lt", "le"),
    **_all(spike_logic.equal, "eq"),
    **_all(spike_logic.clamp, "clamp", "clip", "clamp_max", "clamp_min"),
    **_all(spike_logic.hardtanh, "hardtanh"),
    **_all(spike_logic.relu6, "relu6"),
    **_all(reductions.mean, "mean"),
    **_all(reductions.total, "sum"),
    **_all(moves.concatenate, "cat", "concat", "concatenate", "stack"),
    **_all(spike_logic.rectify, "relu"),
    **_all(moves.pad, "pad", "constant_pad_nd"),
    **_all(moves.dropout, "dropout", "feature_dropout", "alpha_dropout", "native_dropout"),
    **_all(moves.same, *_SAME),
    **_all(moves.convert, "to", "_to_copy", "type_as", "float", "double"),
    **_all(moves.layout, *_LAYOUT),
    **_all(moves.broadcast, "broadcast_tensors"),
    **_all(moves.copied, "copy"),
    **_all(moves.resized, "upsample_nearest2d", "_upsample_nearest_exact2d"),
    **_all(pieces.select_scatter, "select_scatter"),
    **_all(pieces.slice_scatter, "slice_scatter"),
}
WEIGHTED = frozenset({"conv2d", "conv1d", "linear"})
LINEAR = frozenset(
    name
    for name, rule in RULES.items()
    if rule
    in (
        *(layers.batch_norm, pooling.avg_pool2d, pooling.avg_pool1d, pooling.adaptive_avg_pool2d),
        *(pooling.adaptive_avg_pool1d, pooling.max_pool2d, pooling.max_pool1d),
        *(arithmetic.add, arithmetic.subtract, arithmetic.subtract_from, arithmetic.negate, arithmetic.multiply),
        *(arithmetic.divide, reductions.mean, reductions.total, moves.concatenate, moves.dropout),
        *(moves.same, moves.convert, moves.layout),
    )
)
"""What may stand between a weighted layer and the neuron that takes its current, or behind factors of spikes."""
FACTORS = frozenset(
    name
    for name, rule in RULES.items()
    if rule in (layers.batch_norm, arithmetic.add, arithmetic.subtract, arithmetic.multiply, arithmetic.divide)
)
"""What multiplies spikes by constants, if its other operand is one."""
