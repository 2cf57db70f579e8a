"""Held against the losses of transformers' own models, and against sums written out."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")
from torch.nn.functional import normalize  # noqa: E402

from mmedge.nets.objectives.paired import alignment, contrastive, sigmoid  # noqa: E402


def unit(count, width, seed):
    return normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def told_by_transformers(kind):
    import transformers

    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    vision, text = {**small, "image_size": 16, "patch_size": 8}, {**small, "vocab_size": 50, "max_position_embeddings": 8, "eos_token_id": 49}
    model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(vision_config=vision, text_config=text)).eval()
    with torch.no_grad():
        model.logit_scale.fill_(1.3)
        if kind == "Siglip":
            model.logit_bias.fill_(-0.7)
        return model, model(input_ids=torch.randint(0, 50, (5, 8)), pixel_values=torch.randn(5, 3, 16, 16), return_loss=True)


@pytest.mark.full
def test_contrastive_is_clips():
    model, told = told_by_transformers("CLIP")
    assert float(contrastive(told.image_embeds, told.text_embeds, model.logit_scale.detach().exp())) == pytest.approx(float(told.loss), rel=1e-5)


@pytest.mark.full
def test_sigmoid_is_siglips():
    model, told = told_by_transformers("Siglip")
    assert float(sigmoid(told.image_embeds, told.text_embeds, model.logit_scale.detach().exp(), model.logit_bias.detach())) == pytest.approx(
        float(told.loss), rel=1e-5
    )


@pytest.mark.parametrize("repeats", [False, True])
def test_written_out(repeats):
    """Caption 0 belongs to picture 2 as well, and caption 2 to picture 0."""
    image, text, scale, bias = unit(3, 4, 0), unit(3, 4, 1), 2.5, -0.5
    own = [{0, 2}, {1}, {0, 2}] if repeats else [{0}, {1}, {2}]
    positives = torch.tensor([[text in mine for text in range(3)] for mine in own]) if repeats else None
    score = [[sum(float(a) * float(b) for a, b in zip(image[i], text[j])) for j in range(3)] for i in range(3)]
    wanted = 0.0
    for i in range(3):
        across, down = (math.log(sum(math.exp(scale * s) for s in line)) for line in (score[i], [score[j][i] for j in range(3)]))
        for j in own[i]:
            wanted -= (scale * score[i][j] - across) / len(own[i]) / 6 + (scale * score[j][i] - down) / len(own[i]) / 6
    assert float(contrastive(image, text, torch.tensor(scale), positives)) == pytest.approx(wanted, rel=1e-9)
    wanted = sum(math.log1p(math.exp((-1 if j in own[i] else 1) * (scale * score[i][j] + bias))) for i in range(3) for j in range(3)) / 3
    assert float(sigmoid(image, text, torch.tensor(scale), torch.tensor(bias), positives)) == pytest.approx(wanted, rel=1e-9)


def test_several_positives_ask_for_no_difference_between_them():
    """A picture that scores both captions alike is at the minimum; preferring its own one costs."""
    text = torch.eye(4)[:2].repeat(2, 1)
    positives = torch.eye(2, dtype=torch.bool).repeat(2, 2)
    image = text.clone().requires_grad_()
    contrastive(image, text, torch.tensor(50.0), positives).backward()
    assert image.grad.abs().max() < 1e-6
    assert float(contrastive(text, text, torch.tensor(50.0), positives)) == pytest.approx(math.log(2), rel=1e-5)
    assert float(contrastive(text, text, torch.tensor(50.0))) == pytest.approx(math.log(2), rel=1e-5)


def test_alignment_is_two_less_twice_the_cosine():
    image, text = unit(6, 5, 0), unit(6, 5, 1)
    assert float(alignment(image, text)) == pytest.approx(float((2 - 2 * torch.nn.functional.cosine_similarity(image, text)).mean()), rel=1e-9)
    assert float(alignment(image, image)) == 0
