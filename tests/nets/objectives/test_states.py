from __future__ import annotations

import pytest

from mmedge.errors import MmedgeError

torch = pytest.importorskip("torch")
from torch.nn.functional import mse_loss  # noqa: E402

from mmedge.nets.objectives.states import attention, hidden  # noqa: E402


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def states(layers, width=4, tokens=5, seed=0):
    return tuple(drawn(2, tokens, width, seed=seed + number) for number in range(layers + 1))


def maps(layers, heads=2, tokens=5, seed=0):
    return tuple(drawn(2, heads, tokens, tokens, seed=seed + number).softmax(-1) for number in range(layers))


def test_hidden_states_are_held_to_every_other_layer():
    """TinyBERT's map for 3 of 6 layers: embeddings to embeddings, then 2, 4 and 6."""
    student, teacher = states(3), states(6, seed=10)
    wanted = sum(mse_loss(student[ours], teacher[other]) for ours, other in ((0, 0), (1, 2), (2, 4), (3, 6))) / 4
    assert float(hidden(student, teacher)) == pytest.approx(float(wanted), rel=1e-12)
    chosen = (mse_loss(student[1], teacher[1]) + mse_loss(student[3], teacher[6])) / 2
    assert float(hidden(student, teacher, layers=(-1, 1, -1, 6))) == pytest.approx(float(chosen), rel=1e-12)


def test_attention_maps_are_held_to_every_other_layer():
    student, teacher = maps(2), maps(4, seed=10)
    wanted = (mse_loss(student[0], teacher[1]) + mse_loss(student[1], teacher[3])) / 2 * 5
    assert float(attention(student, teacher)) == pytest.approx(float(wanted), rel=1e-12)
    chosen = mse_loss(student[0], teacher[0]) * 5
    assert float(attention(student, teacher, layers=(0, -1))) == pytest.approx(float(chosen), rel=1e-12)


def test_a_student_that_is_its_teacher_has_nothing_to_learn():
    assert float(hidden(states(3), states(3))) == 0
    assert float(attention(maps(3), maps(3))) == 0
    assert float(hidden(states(3), states(3, seed=1))) > 0.1


def test_filling_changes_nothing():
    student, teacher, mask = states(2), states(2, seed=10), torch.tensor([[1] * 5, [1, 1, 1, 0, 0]])
    noise = [torch.where(mask[..., None].bool(), one, 99.0) for one in student]
    assert float(hidden(noise, teacher, mask)) == pytest.approx(float(hidden(student, teacher, mask)), rel=1e-12)
    short = [one[1:, :3] for one in student], [one[1:, :3] for one in teacher]
    both = (float(hidden([one[:1] for one in student], [one[:1] for one in teacher])) * 5 + float(hidden(*short)) * 3) / 8
    assert float(hidden(student, teacher, mask)) == pytest.approx(both, rel=1e-12)


def test_filling_changes_nothing_in_maps():
    """What is filled is looked at by nobody, and what it looks at is not asked."""
    student, teacher = maps(1, tokens=3), maps(1, tokens=3, seed=10)
    padded = [tuple(torch.nn.functional.pad(one, (0, 2, 0, 2)) for one in each) for each in (student, teacher)]
    padded[0][0][:, :, 3:] = 0.2
    mask = torch.tensor([[1, 1, 1, 0, 0]] * 2)
    assert float(attention(*padded, mask)) == pytest.approx(float(attention(student, teacher)), rel=1e-12)


@pytest.mark.parametrize(
    ("call", "what", "fix"),
    [
        (lambda: hidden(states(2), states(2, tokens=6)), "hidden: the student sees 5 tokens where the teacher sees 6", "same tokenizer"),
        (lambda: attention(maps(2), maps(2, tokens=6)), "attention: the student sees 5 tokens where the teacher sees 6", "patches of the same size"),
        (lambda: hidden(states(2), states(2, width=6)), "hidden: the student's vectors have 4 numbers, the teacher's 6", "projector = true"),
        (lambda: attention(maps(2), maps(2, heads=4)), "attention: the student has 2 heads, the teacher 4", 'heads = "mean"'),
        (lambda: hidden(states(2), states(4), layers=(0, 1)), r"layers = \[0, 1\] does not map 3 of the student's to 5", "3 numbers from 0 to 4"),
        (lambda: hidden(states(2), states(4), layers=(0, 1, 5)), r"layers = \[0, 1, 5\] does not map", "3 numbers from 0 to 4"),
        (lambda: attention(maps(2), maps(4), layers=(-1, -1)), r"layers = \[-1, -1\] does not map", "2 numbers from 0 to 3"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, what, fix):
    with pytest.raises(MmedgeError, match=what) as told:
        call()
    assert fix in told.value.fix


def test_projected_and_averaged():
    projector = torch.nn.Linear(4, 6).double()
    hidden(states(2), states(2, width=6), projector=projector).backward()
    assert projector.weight.grad.abs().max() > 0
    student, teacher = maps(1), maps(1, heads=4, seed=10)
    wanted = mse_loss(student[0].mean(1), teacher[0].mean(1)) * 5
    assert float(attention(student, teacher, heads="mean")) == pytest.approx(float(wanted), rel=1e-12)


@pytest.mark.full
def test_from_transformers_own_outputs():
    """The lists that a BERT gives, of a student with every other layer."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {
        "vocab_size": 30,
        "hidden_size": 8,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 8,
        "attn_implementation": "eager",
    }
    told = [
        transformers.BertModel(transformers.BertConfig(num_hidden_layers=layers, **sizes)).eval()(
            input_ids=torch.arange(10).reshape(2, 5), output_hidden_states=True, output_attentions=True
        )
        for layers in (2, 4)
    ]
    for loss in (hidden(told[0].hidden_states, told[1].hidden_states), attention(told[0].attentions, told[1].attentions)):
        assert loss.item() > 0
