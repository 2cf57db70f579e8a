"""Held against torch's own losses, and against what must be so: a student that is its teacher has nothing to learn."""

from __future__ import annotations

import numpy as np
import pytest

from mmedge.errors import MmedgeError

torch = pytest.importorskip("torch")
from torch.nn.functional import cosine_embedding_loss, kl_div, log_softmax, mse_loss, normalize  # noqa: E402

from mmedge.nets.objectives.embedded import affinity, features, interactive, relational  # noqa: E402
from mmedge.nets.objectives.paired import contrastive  # noqa: E402

SCALE, THEIRS = torch.tensor(3.0, dtype=torch.float64), torch.tensor(7.0, dtype=torch.float64)


def unit(count, width, seed):
    return normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def test_features_are_torchs_losses():
    student, teacher = unit(6, 5, 0), unit(6, 5, 1)
    assert float(features(student, teacher)) == pytest.approx(float(mse_loss(student, teacher)) * 5, rel=1e-12)
    assert float(features(student, teacher, distance="cosine")) == pytest.approx(float(cosine_embedding_loss(student, teacher, torch.ones(6))), rel=1e-9)
    assert float(features(3 * student, teacher, distance="cosine")) == pytest.approx(float(features(student, teacher, distance="cosine")), rel=1e-9)


def test_widths_that_differ_need_a_projector():
    student, teacher = unit(4, 3, 0), unit(4, 5, 1)
    with pytest.raises(MmedgeError, match="features: the student's vectors have 3 numbers, the teacher's 5") as told:
        features(student, teacher)
    assert "projector = true" in told.value.fix
    projector = torch.nn.Linear(3, 5).double()
    features(student, teacher, projector=projector).backward()
    assert projector.weight.grad.abs().max() > 0
    with pytest.raises(MmedgeError, match=r"interactive: .* 3 numbers, the teacher's 5"):
        interactive(student, student, SCALE, teacher, teacher)


def test_affinity_and_relational_by_hand():
    image, text, their_image, their_text = unit(4, 3, 0), unit(4, 3, 1), unit(4, 6, 2), unit(4, 6, 3)
    found, wanted = (scale * (a.numpy() @ b.numpy().T) for scale, a, b in ((3.0, image, text), (7.0, their_image, their_text)))
    cross = divergence = 0.0
    for student, teacher in ((found, wanted), (found.T, wanted.T)):
        p, q = (np.exp(one) / np.exp(one).sum(1, keepdims=True) for one in (teacher, student))
        cross += -(p * np.log(q)).sum(1).mean() / 2
        divergence += (p * np.log(p / q)).sum(1).mean() / 2
    arguments = (image, text, SCALE, their_image, their_text, THEIRS)
    assert float(affinity(*arguments)) == pytest.approx(cross, rel=1e-9)
    assert float(relational(*arguments)) == pytest.approx(divergence, rel=1e-9)
    torchs = kl_div(log_softmax(torch.tensor(found), 1), log_softmax(torch.tensor(wanted), 1), log_target=True, reduction="batchmean")
    torchs = torchs + kl_div(log_softmax(torch.tensor(found.T), 1), log_softmax(torch.tensor(wanted.T), 1), log_target=True, reduction="batchmean")
    assert float(relational(*arguments)) == pytest.approx(float(torchs) / 2, rel=1e-9)


def test_affinity_and_relational_train_alike():
    image, text = (unit(4, 3, seed).requires_grad_() for seed in (0, 1))
    arguments = (image, text, SCALE, unit(4, 6, 2), unit(4, 6, 3), THEIRS)
    ours = torch.autograd.grad(affinity(*arguments), (image, text))
    for one, other in zip(ours, torch.autograd.grad(relational(*arguments), (image, text))):
        torch.testing.assert_close(one, other)
        assert one.abs().max() > 1e-3


def test_interactive_is_contrastive_with_the_teachers_other_half():
    """Its two directions are those of two contrastive losses: pictures among the teacher's texts, texts among its pictures."""
    image, text, their_image, their_text = (unit(4, 3, seed) for seed in range(4))
    rows = [torch.nn.functional.cross_entropy(3 * a @ b.T, torch.arange(4)) for a, b in ((image, their_text), (text, their_image))]
    assert float(interactive(image, text, SCALE, their_image, their_text)) == pytest.approx(float(sum(rows)) / 2, rel=1e-9)
    assert float(interactive(image, text, SCALE, image, text)) == pytest.approx(float(contrastive(image, text, SCALE)), rel=1e-9)
    positives = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]).bool()  # not symmetric, so that directions cannot be mixed up
    assert float(interactive(image, text, SCALE, image, text, positives)) == pytest.approx(float(contrastive(image, text, SCALE, positives)), rel=1e-9)


def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    image, text = (unit(5, 4, seed).requires_grad_() for seed in (0, 1))
    teacher = (image.detach().clone(), text.detach().clone())
    assert float(relational(image, text, SCALE, *teacher, SCALE)) == pytest.approx(0, abs=1e-12)
    for loss in (features(image, teacher[0]), features(image, teacher[0], distance="cosine"), affinity(image, text, SCALE, *teacher, SCALE)):
        assert torch.autograd.grad(loss, image)[0].abs().max() < 1e-9


def test_no_gradient_reaches_the_teacher_and_fp16_is_taken():
    image, text = (unit(4, 3, seed).float().requires_grad_() for seed in (0, 1))
    teacher = [unit(4, 3, seed).half().requires_grad_() for seed in (2, 3)]
    scale = torch.tensor(3.0)
    for loss in (
        affinity(image, text, scale, *teacher, scale),
        relational(image, text, scale, *teacher, scale),
        interactive(image, text, scale, *teacher),
        features(image, teacher[0]),
    ):
        assert loss.dtype == torch.float32
        loss.backward()
    assert all(one.grad is None for one in teacher)
    assert image.grad.abs().max() > 0
