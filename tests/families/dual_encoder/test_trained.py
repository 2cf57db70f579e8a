"""What mmedge trains, by its exported graphs, against the torch module."""

from __future__ import annotations

import numpy as np
import pytest
from checks import compiled, on_one_thread

from mmedge.errors import MmedgeError
from mmedge.family import verbs_of

from .conftest import LABELS, PICTURES

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def trained(small_bundle, tmp_path_factory):
    """(the module, a session, the bundle)."""
    from mmedge.nets.multimodal_checkpoint import load_checkpoint

    on_one_thread()
    small = small_bundle("MmedgeDualEncoder")
    bundle = compiled(small, tmp_path_factory.mktemp("trained") / "trained.bundle", "cpu")
    with bundle.session("dual_encoder", "cpu") as session:
        yield load_checkpoint(small.path.with_name("MmedgeDualEncoder.checkpoint")), session, bundle


def test_embeddings_and_classes_are_the_modules(trained):
    import torch

    model, session, _ = trained
    with torch.no_grad():
        images = torch.cat([model.towers["image"](torch.from_numpy(session.pixels(picture))) for picture in PICTURES]).numpy()
        texts = model.towers["text"](**{name: torch.from_numpy(array) for name, array in session.tokens(LABELS).items()}).numpy()
    np.testing.assert_allclose(np.stack([session.embed_image(picture) for picture in PICTURES]), images, atol=1e-5)
    np.testing.assert_allclose(session.embed_text(LABELS), texts, atol=1e-5)
    assert np.abs(images[0] - images[1]).max() > 0.01 and images.shape[1] == model.config.width + 16  # beside ConSE's sentences
    scores = np.exp(np.exp(model.logit_scale.item()) * (texts @ images[0]))
    assert dict(session.classify(PICTURES[0], LABELS)) == pytest.approx(dict(zip(LABELS, (scores / scores.sum()).tolist())), abs=1e-4)
    assert [text for text, _ in session.rank(PICTURES[0], LABELS)] == [LABELS[at] for at in np.argsort(-(texts @ images[0]))]


def test_it_knows_no_classes_of_its_own(trained):
    _, session, bundle = trained
    assert "recognise" not in verbs_of(bundle.manifest.models["dual_encoder"])
    with pytest.raises(MmedgeError, match="not asked about ImageNet's classes"):
        session.recognise(PICTURES[0])


def test_siglips_loss_makes_labels_independent(tmp_path):
    from checkpoints.dual_encoder import make_trained

    from mmedge.build.golden import media
    from mmedge.families.dual_encoder import Options
    from mmedge.families.dual_encoder.export import export

    model = make_trained(tmp_path, conse=0, similarity="sigmoid")
    made = export(tmp_path, Options(), media())
    assert made.config.kind == "sigmoid" and made.config.bias == pytest.approx(model.logit_bias.item())
    embedded = {case.call: case.expected for case in made.cases if case.args.get("image", case.args.get("item")) in (None, "@cat") or "text" in case.args}
    scores = np.exp(model.logit_scale.item()), model.logit_bias.item()
    wanted = 1 / (1 + np.exp(-(scores[0] * embedded["embed_text"] @ embedded["embed_image"] + scores[1])))
    np.testing.assert_allclose(sorted(chance for _, chance in embedded["classify"]), sorted(wanted), atol=1e-5)


def test_it_is_refused_without_its_tokenizer(tmp_path):
    from checkpoints.dual_encoder import make_trained

    from mmedge.build.golden import media
    from mmedge.families.dual_encoder import Options
    from mmedge.families.dual_encoder.export import export

    make_trained(tmp_path, complete=False)
    with pytest.raises(MmedgeError, match=r"has no tokenizer\.json") as caught:
        export(tmp_path, Options(), media())
    assert caught.value.fix == "get an undamaged checkpoint"
