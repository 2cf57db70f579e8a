from __future__ import annotations

import numpy as np
import pytest

from mmedge.errors import MmedgeError

torch = pytest.importorskip("torch")
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, kl_div  # noqa: E402

from mmedge.nets.objectives import answered, top_k  # noqa: E402
from mmedge.nets.objectives import labelled as by_labels  # noqa: E402


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax(scores):
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def test_logits_by_hand():
    student, teacher = drawn(5, 7), drawn(5, 7, seed=1)
    p, q = softmax(teacher.numpy() / 3), softmax(student.numpy() / 3)
    assert float(answered.logits(student, teacher, temperature=3)) == pytest.approx(9 * (p * np.log(p / q)).sum() / 5, rel=1e-9)
    assert float(answered.logits(student, student.clone(), temperature=3)) == pytest.approx(0, abs=1e-12)


def test_the_gradient_does_not_fade_with_the_temperature():
    """In the limit of high temperatures it is that of half the squared distance of centred logits over classes (Hinton et al. 2015, section 2.1)."""
    student, teacher = drawn(5, 7).requires_grad_(), drawn(5, 7, seed=1)
    found = torch.autograd.grad(answered.logits(student, teacher, temperature=1e4), student)[0]
    centred = student.detach() - student.detach().mean(-1, keepdim=True) - teacher + teacher.mean(-1, keepdim=True)
    torch.testing.assert_close(found, centred / 7 / 5, atol=1e-6, rtol=1e-3)


def test_one_logit_is_a_choice_of_two():
    student, teacher = drawn(6), drawn(6, seed=1)
    p, q = teacher.sigmoid(), student.sigmoid()
    wanted = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    assert float(answered.logits(student, teacher, temperature=1)) == pytest.approx(float(wanted), rel=1e-9)


def test_other_classes_are_refused():
    with pytest.raises(MmedgeError, match=r"outputs \(7,\) for each sample, the teacher \(8,\)"):
        answered.logits(drawn(5, 7), drawn(5, 8))


def test_sequence_with_all_tokens_is_torchs_divergence_and_cross_entropy():
    student, teacher = drawn(2, 4, 9), drawn(2, 4, 9, seed=1)
    labels = torch.tensor([[1, 2, -100, 3], [8, -100, -100, -100]])
    ids, chances = top_k(teacher, 9, temperature=2.0)
    asked = labels != -100
    soft = kl_div((student[asked] / 2).log_softmax(-1), (teacher[asked] / 2).log_softmax(-1), log_target=True, reduction="batchmean") * 4
    hard = cross_entropy(student.flatten(0, 1), labels.flatten(), ignore_index=-100)
    assert float(answered.sequence(student, labels, ids, chances)) == pytest.approx(float(0.8 * soft + hard), rel=1e-9)


def test_sequence_with_some_tokens_takes_the_others_as_one():
    student, teacher = drawn(1, 3, 9), drawn(1, 3, 9, seed=1)
    labels = torch.tensor([[0, 1, 2]])
    ids, chances = top_k(teacher, 4, temperature=1.0)
    p, q, wanted = softmax(teacher.numpy()[0]), softmax(student.numpy()[0]), 0.0
    for place in range(3):
        best = np.argsort(-p[place])[:4]
        bins = [np.append(one[place][best], 1 - one[place][best].sum()) for one in (p, q)]
        wanted += (bins[0] * np.log(bins[0] / bins[1])).sum() / 3
    found = float(answered.sequence(student, labels, ids, chances, temperature=1.0, alpha=1.0, beta=0.0))
    assert found == pytest.approx(wanted, rel=1e-9)
    assert found < float(kl_div(student[0].log_softmax(-1), teacher[0].log_softmax(-1), log_target=True, reduction="batchmean"))
    everything = top_k(teacher, 9, temperature=1.0)
    assert float(answered.sequence(teacher, labels, ids, chances, temperature=1.0, beta=0.0)) == pytest.approx(0, abs=1e-12)
    assert float(answered.sequence(teacher, labels, *everything, temperature=1.0, beta=0.0)) == pytest.approx(0, abs=1e-12)


def test_sequence_from_fp16_and_with_nothing_asked():
    """Rounded probabilities may add up to more than 1; no NaN, no infinity, in value or gradient."""
    student = drawn(2, 3, 5).float().requires_grad_()
    sure = torch.zeros(2, 3, 5)
    sure[..., 0] = 60
    for labels in (torch.tensor([[0, 0, 0], [0, 0, -100]]), torch.full((2, 3), -100)):
        for k in (1, 5):
            ids, chances = top_k(sure, k)
            found = answered.sequence(student, labels, ids, chances.half())
            assert torch.isfinite(found)
            assert torch.isfinite(torch.autograd.grad(found, student)[0]).all()
    ids, chances = top_k(torch.zeros(2, 3, 5), 5)
    assert float(answered.sequence(torch.zeros(2, 3, 5), torch.zeros(2, 3).long(), ids, chances.half() + 0.001, beta=0.0)) == pytest.approx(0, abs=1e-5)


def test_labelled_are_torchs():
    logits, labels = drawn(6, 4), torch.tensor([0, 3, -100, 1, 1, 2])
    assert float(by_labels.cross_entropy(logits, labels)) == pytest.approx(float(cross_entropy(logits, labels, ignore_index=-100)), rel=1e-12)
    smoothed = cross_entropy(logits, labels, ignore_index=-100, label_smoothing=0.1)
    assert float(by_labels.cross_entropy(logits, labels, smoothing=0.1)) == pytest.approx(float(smoothed), rel=1e-12)
    assert float(by_labels.cross_entropy(logits, torch.full((6,), -100))) == 0
    yes = torch.tensor([0, 1, 1, 0, 1, 0])
    assert float(by_labels.matching(logits[:, :1], yes)) == pytest.approx(float(binary_cross_entropy_with_logits(logits[:, 0], yes.double())), rel=1e-12)


def test_joint_adds_what_each_modality_says_alone():
    logits, image, text = drawn(4, 3), drawn(4, 3, seed=1), drawn(4, 3, seed=2)
    labels = torch.tensor([0, 1, 2, 0])
    wanted = cross_entropy(logits, labels) + 0.25 * cross_entropy(image, labels) + 0.5 * cross_entropy(text, labels)
    assert float(by_labels.joint(logits, labels, {"image": image, "text": text}, alpha=0.5, beta=0.25)) == pytest.approx(float(wanted), rel=1e-12)


def test_joint_asks_nobody_about_what_it_did_not_get():
    logits, image, text = drawn(4, 3), drawn(4, 3, seed=1), drawn(4, 3, seed=2).requires_grad_()
    labels, present = torch.tensor([0, 1, 2, 0]), torch.tensor([[1, 1], [1, 0], [1, 1], [1, 0]]).bool()
    found = by_labels.joint(logits, labels, {"image": image, "text": text}, present)
    wanted = cross_entropy(logits, labels) + cross_entropy(image, labels) + cross_entropy(text[[0, 2]], labels[[0, 2]])
    assert float(found) == pytest.approx(float(wanted), rel=1e-12)
    assert torch.autograd.grad(found, text)[0][[1, 3]].abs().max() == 0
    with pytest.raises(MmedgeError, match="no such heads"):
        by_labels.joint(logits, labels, {})
