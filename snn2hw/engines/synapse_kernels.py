"""Matrix products of whole numbers, each by the fastest kernel that is exact for it.

int8 is oneDNN's convolution of 8-bit payloads and weights with 32-bit sums; float32 holds every whole number below
2^24, float64 below 2^53. Which is chosen follows from the proved bounds; that it is exact on this machine is checked
when it first meets a shape, on inputs that reach the bounds. A kernel that fails is replaced by the next.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from snn2hw import ir
from snn2hw.errors import FixedPointOverflow

Name = Literal["int8", "float32", "float64"]
Rule = Callable[[torch.Tensor], torch.Tensor]

FLOAT32_EXACT, FLOAT64_EXACT = 1 << 24, 1 << 53
INT8_SUM = 1 << 30  # of 32-bit sums, with room for the offset of signed payloads
SIGNED_OFFSET = 128  # oneDNN takes unsigned payloads alone; its zero point takes the offset back
UNSIGNED_PAYLOAD, SIGNED_PAYLOAD = 255, 127


def kernels_for(
    node: ir.Conv | ir.Linear, program: ir.Program, *, plain: bool, checked_later: bool
) -> tuple[Name, ...]:
    """The kernels that compute a node exactly, the fastest first.

    plain: leave out those of the CPU alone. checked_later: the sums go to a neuron alone, whose check refuses all
    from the chip's input limit, so that float32 need not hold more. Raises FixedPointOverflow if the sums may exceed
    what float64 holds.
    """
    sums = program.bounds[node.name].accumulator
    if sums >= FLOAT64_EXACT:
        raise FixedPointOverflow(
            f"{node.name}: its sums can reach {sums:.3g}, and no kernel computes exactly from {FLOAT64_EXACT:.3g}. Use "
            "fewer weight bits or input bits."
        )
    kernels: list[Name] = ["float64"]
    if sums < FLOAT32_EXACT:
        kernels.insert(0, "float32")
    payload = sum(program.bounds[source].payload for source in node.inputs)
    signed = any(program.bounds[source].signed for source in node.inputs)
    fits = payload <= (SIGNED_PAYLOAD if signed else UNSIGNED_PAYLOAD) and node.weight.dtype == np.int8
    heaviest = int(np.abs(node.weight, dtype=np.int64).reshape(len(node.weight), -1).sum(axis=1).max())
    held = sums < FLOAT32_EXACT or (checked_later and program.numerics.input_limit <= FLOAT32_EXACT)
    if not plain and fits and held and heaviest * UNSIGNED_PAYLOAD < INT8_SUM and has_int8():
        kernels.insert(0, "int8")
    return tuple(kernels)


class Synapse:
    """A convolution or linear layer: payloads [..., H, W, C] to sums [..., H', W', O], whole numbers in floats."""

    def __init__(
        self,
        node: ir.Conv | ir.Linear,
        program: ir.Program,
        device: torch.device,
        *,
        plain: bool = False,
        checked_later: bool = False,
    ) -> None:
        self.node, self.device = node, device
        self.payload = sum(program.bounds[source].payload for source in node.inputs)
        self.signed = any(program.bounds[source].signed for source in node.inputs)
        self.kernels = list(kernels_for(node, program, plain=plain, checked_later=checked_later))
        self.weight = torch.tensor(_weight(node, program.graph.input_shape(node)))
        self.rule = self.make_rule()
        self.checked: set[tuple[int, ...]] = set()

    @property
    def kernel(self) -> Name:
        """The kernel in use."""
        return self.kernels[0]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Sums of payloads [N, T, H, W, C]."""
        images = x.flatten(0, 1)
        if isinstance(self.node, ir.Linear):
            images = images.flatten(1)[:, None, None]
        if images.shape not in self.checked:
            self._check(images.shape)
        sums = self.rule(images)
        return sums.reshape(*x.shape[:2], *sums.shape[1:])

    def _check(self, shape: Sequence[int]) -> None:
        """Take the first kernel that computes extreme payloads of this shape exactly."""
        while True:
            if all(self._agrees(x, exact) for x, exact in self._extremes(shape)):
                self.checked.add(tuple(shape))
                return
            if len(self.kernels) == 1:
                raise FixedPointOverflow(
                    f"{self.node.name}: float64 is not exact for it on this machine, so nothing is. Please report it."
                )
            self.kernels.pop(0)
            self.rule = self.make_rule()

    def _agrees(self, images: torch.Tensor, exact: torch.Tensor) -> bool:
        return all(torch.equal(sums.cpu().double(), exact) for sums in self.rule(images))

    def _extremes(self, shape: Sequence[int]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Payloads [I, H, W, C], every image the same, and an image's exact sums [H', W', O].

        As high as one can get, as low, and with bits of every size.
        """
        low, high = (-self.payload if self.signed else 0), self.payload
        _, height, width, channels = shape
        rows = self.weight.flatten(1)
        images = []
        for row, sign in ((rows.clamp(min=0).sum(1).argmax(), 1), (rows.clamp(max=0).sum(1).argmin(), -1)):
            pattern = torch.where(sign * self.weight[row].int() > 0, high, low)  # [I / groups, kh, kw]
            sizes = zip((channels, height, width), pattern.shape, strict=True)
            tiled = pattern.repeat([math.ceil(size / part) for size, part in sizes])
            images.append(tiled[:channels, :height, :width].permute(1, 2, 0))
        images.append(
            torch.randint(low, high + 1, (height, width, channels), generator=torch.Generator().manual_seed(0))
        )
        for image in images:
            payloads = image.to(self.device, payload_type(low, high)).expand(shape).contiguous()
            yield payloads, self._exact(image[None].double())[0]

    def _exact(self, image: torch.Tensor) -> torch.Tensor:
        """Sums in float64. By parts of the outputs: the weights of a deep layer as float64 would be the most held."""
        if _geometry(self.node)[3] > 1:
            return _conv(image, self.weight.double(), self.node)
        return torch.cat([_conv(image, part.double(), self.node) for part in torch.split(self.weight, 64)], dim=-1)

    def make_rule(self) -> Rule:
        """The kernel in use, from payloads [I, H, W, C] to sums, its weights laid out as it wants them."""
        return self._int8() if self.kernel == "int8" else self._float()

    def _float(self) -> Rule:
        dtype = torch.float32 if self.kernel == "float32" else torch.float64
        weight = self.weight.to(self.device, dtype)
        if isinstance(self.node, ir.Linear):
            matrix = weight.flatten(1).T.contiguous()
            return lambda x: x.to(dtype) @ matrix
        weight = weight.contiguous(memory_format=torch.channels_last)
        return lambda x: _conv(x.to(dtype), weight, self.node)

    def _int8(self) -> Rule:
        stride, padding, dilation, groups = _geometry(self.node)
        offset = SIGNED_OFFSET if self.signed else 0
        outputs = len(self.weight)
        ones, zeros = torch.ones(outputs), torch.zeros(outputs, dtype=torch.int32)
        weight = self.weight.to(torch.int8)

        # Weights laid out for another shape would be laid out anew at every call, up to 60 times as long.
        @functools.lru_cache(2)
        def packed(shape: torch.Size) -> torch.Tensor:
            return torch.ops.onednn.qconv_prepack(  # type: ignore[no-any-return]
                weight, ones, 1.0, offset, stride, padding, dilation, groups, shape
            )

        def rule(x: torch.Tensor) -> torch.Tensor:
            x = (x.to(torch.int8) ^ -SIGNED_OFFSET).view(torch.uint8) if self.signed else x.to(torch.uint8)
            x = x.permute(0, 3, 1, 2)
            sums: torch.Tensor = torch.ops.onednn.qconv2d_pointwise(
                *(x, 1.0, offset, packed(x.shape), ones, zeros, None, stride, padding, dilation, groups),
                *(1.0, 0, torch.float32, "none", [], ""),
            )
            return sums.permute(0, 2, 3, 1).contiguous()

        return rule


def payload_type(low: int, high: int) -> torch.dtype:
    """The type that holds an activation in [low, high]."""
    if low >= 0:
        return torch.uint8 if high <= UNSIGNED_PAYLOAD else torch.int32
    return torch.int8 if max(-low, high) <= SIGNED_PAYLOAD else torch.int32


def _weight(node: ir.Conv | ir.Linear, source: ir.Shape) -> np.ndarray:
    """The weight [O, I / groups, kh, kw]; that of a linear layer for an image of one pixel, channels last."""
    if isinstance(node, ir.Conv):
        return np.ascontiguousarray(node.weight)
    outputs = len(node.weight)
    matrix = np.moveaxis(node.weight.reshape(outputs, *source), 1, -1)
    return np.ascontiguousarray(matrix.reshape(outputs, -1, 1, 1))


def _geometry(node: ir.Conv | ir.Linear) -> tuple[list[int], list[int], list[int], int]:
    if isinstance(node, ir.Linear):
        return [1, 1], [0, 0], [1, 1], 1
    return list(node.stride), list(node.padding), list(node.dilation), node.groups


def _conv(x: torch.Tensor, weight: torch.Tensor, node: ir.Conv | ir.Linear) -> torch.Tensor:
    """Channels-last images [I, H, W, C] convolved in the type they have."""
    stride, padding, dilation, groups = _geometry(node)
    sums = F.conv2d(x.permute(0, 3, 1, 2), weight, None, stride, padding, dilation, groups)
    return sums.permute(0, 2, 3, 1).contiguous()


def has_int8() -> bool:
    """Whether 8-bit products are worth it: without these instructions they are slower, and some are not exact."""
    return hasattr(torch.ops.onednn, "qconv_prepack") and torch.cpu._is_vnni_supported()
