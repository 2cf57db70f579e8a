from __future__ import annotations

import pytest

from mmedge.errors import MmedgeError
from mmedge.training import Student

torch = pytest.importorskip("torch")
from mmedge.distill.students import student, thinner  # noqa: E402
from mmedge.nets.efficientnet_lite import LITE, EfficientNetLite  # noqa: E402

SMALL = LITE[0].model_copy(
    update={"side": 32, "stem": 16, "stages": ((1, 3, 1, 1, 16), (3, 3, 2, 2, 24), (2, 5, 2, 2, 40)), "features": 48, "classes": 5},
)


def drawn():
    """A network whose batch normalisation differs from channel to channel."""
    torch.manual_seed(0)
    net = EfficientNetLite(SMALL).eval().double()
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.ndim == 1 and not name.startswith("_fc"):
                value.copy_(torch.rand_like(value) + 0.5)
    return net


def logits(net):
    with torch.inference_mode():
        return net(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)).double())


def test_a_student_of_full_size_is_its_teacher():
    teacher = drawn()
    same = student(teacher, Student())
    assert torch.equal(logits(same), logits(teacher))
    assert same.config == teacher.config
    with torch.no_grad():
        same._conv_stem.weight.zero_()
    assert not torch.equal(logits(same), logits(teacher)), "they share their weights"


def test_repeats_that_stay_do_what_they_did():
    teacher = drawn()
    found = thinner(teacher, depth=0.5)
    assert [repeats for repeats, *_ in found.config.stages] == [1, 2, 1]
    teacher._blocks = torch.nn.ModuleList(teacher._blocks[number] for number in (0, 1, 3, 4))
    torch.testing.assert_close(logits(found), logits(teacher))


def test_channels_that_go_are_those_with_the_smallest_scales():
    """Equal to the teacher where those are silent: their normalisation gives 0, everywhere in a stage."""
    teacher = drawn()
    found = thinner(teacher, width=0.5)
    assert (found.config.stem, [stage[-1] for stage in found.config.stages], found.config.features) == (8, [8, 16, 24], 24)
    stem = teacher._bn0.weight.detach().clone()
    silence(teacher._bn0, stem, 8)
    blocks, at = list(teacher._blocks), 0
    for (repeats, *_), (*_, kept) in zip(SMALL.stages, found.config.stages):
        stage, at = blocks[at : at + repeats], at + repeats
        scales = sum(block._bn2.weight.square() for block in stage)
        for number, block in enumerate(stage):
            kept_inside = list(found._blocks)[at - repeats + number]._bn1.num_features
            silence(block._bn1, block._bn1.weight if block.expands else stem, kept_inside)
        for block in stage:
            silence(block._bn2, scales, kept)
    silence(teacher._bn1, teacher._bn1.weight, 24)
    torch.testing.assert_close(logits(found), logits(teacher))


def silence(norm, scales, kept):
    quiet = scales.argsort()[: len(scales) - kept]
    with torch.no_grad():
        norm.weight[quiet] = 0
        norm.bias[quiet] = 0


def test_half_of_lite0():
    """By its table: channels halved and rounded to 8, repeats halved and rounded up; under a third of the parameters."""
    found = thinner(EfficientNetLite(), depth=0.5, width=0.5)
    assert found.config.stages == ((1, 3, 1, 1, 8), (1, 3, 2, 6, 16), (1, 5, 2, 6, 24), (2, 3, 2, 6, 40), (2, 5, 1, 6, 56), (2, 5, 2, 6, 96), (1, 3, 1, 6, 160))
    assert found.config.stem == 16
    assert found.config.features == 640
    assert sum(one.numel() for one in found.parameters()) < 4_652_008 / 3
    assert torch.isfinite(found(torch.rand(1, 3, 224, 224))).all()


def test_what_cannot_be_made():
    with pytest.raises(MmedgeError, match="EfficientNet has neither"):
        student(drawn(), Student(layers=(0, 1)))
    with pytest.raises(MmedgeError, match="EfficientNet has neither"):
        student(drawn(), Student(residual=0.5))
