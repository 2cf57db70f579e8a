"""A smaller EfficientNet-Lite out of a larger one: fewer repeats of each stage, and the channels whose batch normalisation scales them most."""

from __future__ import annotations

from math import ceil
from typing import cast

import torch
from torch import Tensor, nn

from mmedge.distill.students.transformer import evenly
from mmedge.nets.efficientnet_lite import Block, EfficientNetLite, rounded


def thinner(teacher: EfficientNetLite, *, depth: float = 1.0, width: float = 1.0) -> EfficientNetLite:
    """A new network, in evaluation mode: of every stage the first repeat and others evenly spaced; of channels those with the largest scales (Liu et al. 2017,
    network slimming), the same ones in all of a stage, since its repeats add up.

    Args:
        depth: fraction of a stage's repeats, rounded up.
        width: fraction of the channels, rounded to multiples of 8, nowhere less than nine tenths of it.
    """
    old = teacher.config
    stages = tuple((_part(repeats, depth), *shape, _narrow(out, width)) for repeats, *shape, out in old.stages)
    student = EfficientNetLite(
        old.model_copy(update={"stem": _narrow(old.stem, width), "stages": stages, "features": _narrow(old.features, width)}),
    )
    student.to(teacher._conv_stem.weight.dtype)
    with torch.no_grad():
        seen = _largest(teacher._bn0.weight, student.config.stem)
        _conv(student._conv_stem, teacher._conv_stem, seen, torch.arange(3))
        _norm(student._bn0, teacher._bn0, seen)
        theirs, ours = iter(cast(list[Block], teacher._blocks)), iter(cast(list[Block], student._blocks))
        for (repeats, *_), (kept, *_, width_kept) in zip(old.stages, stages):
            stage = [next(theirs) for _ in range(repeats)]
            made = _largest(sum((block._bn2.weight.square() for block in stage), start=torch.zeros(())), width_kept)
            for number in evenly(repeats, kept):
                _block(next(ours), stage[number], seen, made)
                seen = made
        head = kept_features(teacher, student.config.features)
        _conv(student._conv_head, teacher._conv_head, head, seen)
        _norm(student._bn1, teacher._bn1, head)
        if old.classes:
            student._fc.weight.copy_(teacher._fc.weight[:, head])
            student._fc.bias.copy_(teacher._fc.bias)
    return student.eval()


def kept_features(teacher: EfficientNetLite, count: int) -> Tensor:
    """Which of the teacher's features a student with so many has: positions, rising."""
    return _largest(teacher._bn1.weight, count)


def _part(repeats: int, depth: float) -> int:
    return max(1, ceil(round(repeats * depth, 6)))


def _narrow(channels: int, width: float) -> int:
    return channels if width == 1 else min(channels, rounded(channels * width))


def _largest(scales: Tensor, count: int) -> Tensor:
    """Positions of the largest, in their order."""
    return scales.abs().topk(count).indices.sort().values


def _block(student: Block, teacher: Block, seen: Tensor, made: Tensor) -> None:
    wide = seen  # without an expansion the filters see what came in
    if teacher.expands:
        wide = _largest(teacher._bn1.weight, student._bn1.num_features)
        _conv(student._expand_conv, teacher._expand_conv, wide, seen)
        _norm(student._bn0, teacher._bn0, wide)
    _conv(student._depthwise_conv, teacher._depthwise_conv, wide, torch.arange(1))
    _norm(student._bn1, teacher._bn1, wide)
    _conv(student._project_conv, teacher._project_conv, made, wide)
    _norm(student._bn2, teacher._bn2, made)


def _conv(student: nn.Conv2d, teacher: nn.Conv2d, out: Tensor, into: Tensor) -> None:
    student.weight.copy_(teacher.weight[out][:, into])


def _norm(student: nn.BatchNorm2d, teacher: nn.BatchNorm2d, kept: Tensor) -> None:
    student.load_state_dict({name: value[kept] if value.ndim else value for name, value in teacher.state_dict().items()})
