"""What a checkpoint may lack, and what is refused; no graph is traced here."""

import json
import shutil
from functools import partial

import pytest
import torch
import transformers
from checkpoints import captioner as small
from checks import distinct
from pictures import five

from mmedge.build.golden import media
from mmedge.errors import MmedgeError
from mmedge.families.captioner import Options, assets, graphs, lacks
from mmedge.families.captioner.export import export
from mmedge.families.captioner.session import Session
from mmedge.family import Allow
from mmedge.runner import Copied
from mmedge.tensors import TensorSpec

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def blip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blip")
    small.make_blip(folder)
    return folder


class TorchRunner:
    """An export's graph as a runner, untraced."""

    reuses_outputs = False

    def __init__(self, graph):
        self._graph = graph
        shape = lambda name, tensor: tuple(graph.dynamic.get(name, {}).get(axis, size) for axis, size in enumerate(tensor.shape))  # noqa: E731
        self.inputs = tuple(TensorSpec(name, str(tensor.dtype).removeprefix("torch."), shape(name, tensor)) for name, tensor in graph.inputs.items())

    def run(self, feeds):
        with torch.no_grad():
            outputs = self._graph.module(*(torch.from_numpy(feeds[spec.name]) for spec in self.inputs))
        return {name: output.numpy() for name, output in zip(self._graph.outputs, outputs)}

    def carry(self, pairs, start):
        return Copied(self, pairs, start)


def session_of(exported, folder):
    return Session({name: TorchRunner(graph) for name, graph in exported.graphs.items()}, {name: folder / name for name in exported.assets}, exported.config)


OTHERS = {
    "trocr as the large size": partial(small.make_trocr, learned=False, encoder="Beit"),
    "trocr with a ViT": partial(small.make_trocr, encoder="ViT"),
    "bert": small.make_vit_bert,
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_encoder_decoders_say_what_transformers_says(tmp_path, theirs, kind):
    OTHERS[kind](tmp_path)
    exported = export(tmp_path, Options(), media())
    reference, session = theirs(tmp_path), session_of(exported, tmp_path)
    if "large" in kind:  # transformers 5.23 loads these positions without data
        positions = reference.model.decoder.model.decoder.embed_positions
        positions.weights = positions.get_embedding(positions.weights.shape[0], positions.embedding_dim, positions.padding_idx)
    expected = [reference.tokens(picture) for picture in five()]
    assert distinct(expected)
    stop = set(exported.config.stop)
    for picture, tokens in zip(five(), expected):
        assert session.caption_tokens(picture, max_tokens=20) == [token for index, token in enumerate(tokens) if index and token not in stop]


def test_the_context_is_an_option_within_the_models_positions(blip):
    assert export(blip, Options(context=16), media()).config.context == 16
    assert export(blip, Options(context=4000), media()).config.context == small.POSITIONS


def test_without_a_tokenizer(blip, tmp_path):
    folder = shutil.copytree(blip, tmp_path / "blip")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    exported = export(folder, Options(), media())
    assert set(exported.graphs) == set(graphs(exported.config)) and not exported.assets and not assets(exported.config)
    assert lacks(exported.config) == {"tokenizer": ("words", "caption")}
    session = session_of(exported, folder)
    (case,) = (case for case in exported.cases if case.args == {"image": "@cat", "max_tokens": 20})
    assert session.caption_tokens(media()["cat"], max_tokens=20) == case.expected
    for refused in (lambda: session.caption(media()["cat"]), lambda: session.caption_tokens(media()["cat"], "a photo")):
        with pytest.raises(MmedgeError, match="brought no tokenizer") as caught:
            refused()
        assert caught.value.fix == "add its tokenizer.json to the checkpoint and export again"


def test_without_an_image_processor(blip, tmp_path):
    folder = shutil.copytree(blip, tmp_path / "blip")
    (folder / "processor_config.json").unlink()
    exported = export(folder, Options(), media())
    assert set(exported.graphs) == set(graphs(exported.config)) and [case.call for case in exported.cases] == ["words"]
    assert tuple(exported.graphs["image_encoder"].inputs["pixel_values"].shape) == (2, 3, small.SIDE, small.SIDE)
    assert lacks(exported.config) == {"image processor": ("caption",)}
    with pytest.raises(MmedgeError, match="brought no image processor"):
        session_of(exported, folder).caption(media()["cat"])


def test_the_stop_is_blips_sep_whatever_the_generation_config_says(blip, tmp_path):
    folder = shutil.copytree(blip, tmp_path / "blip")
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 7, "eos_token_id": 9}))
    config = export(folder, Options(), media()).config
    text = transformers.BlipConfig.from_pretrained(folder).text_config
    assert (config.start, config.stop) == ((text.bos_token_id,), (text.sep_token_id,)) == ((len(small.word_pieces()),), (3,))


def test_tokens_that_the_generation_config_names(tmp_path, theirs):
    """Several ends, a forced first token and suppressed ones, as transformers' generate heeds them."""
    small.make_vit_gpt2(tmp_path)
    free = theirs(tmp_path).tokens(five()[0])
    settings = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": [0, free[4]], "forced_bos_token_id": 40, "suppress_tokens": [free[2], 57, 336]}
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    reference, exported = type(theirs(tmp_path))(tmp_path), export(tmp_path, Options(), media())
    assert exported.config.stop == (0, free[4]) and exported.config.start == (0, 40)
    session = session_of(exported, tmp_path)
    for picture in five():
        tokens = reference.tokens(picture)
        assert session.caption_tokens(picture, max_tokens=19) == [token for token in tokens[2:] if token not in exported.config.stop]


def refused(folder, match, allow=Allow(), **change):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(MmedgeError, match=match):
        export(folder, Options(), media(), allow)


def test_refusals(blip, tmp_path):
    wrong = shutil.copytree(blip, tmp_path / "size")
    transformers.BlipImageProcessorPil(size={"height": 48, "width": 48}).save_pretrained(wrong)
    (wrong / "processor_config.json").unlink()
    refused(wrong, "makes pictures of 48 x 48, the model takes 32 x 32")
    refused(shutil.copytree(blip, tmp_path / "kind"), "is no captioner", architectures=["BlipModel"])

    start = tmp_path / "start"
    small.make_git(start)
    (start / "generation_config.json").write_text(json.dumps({"eos_token_id": 3}))
    refused(start, "names no token that texts begin with", bos_token_id=None)

    decoder = tmp_path / "decoder"
    config = transformers.RobertaConfig(**small.SMALL, vocab_size=90, max_position_embeddings=40, is_decoder=True, add_cross_attention=True)
    small._encoder_decoder(decoder, transformers.ViTConfig(**small.TOWER), config, start=2, stop=3, pad=0)
    refused(decoder, "decoder is a roberta")

    blind, unsized = tmp_path / "blind", tmp_path / "unsized"
    small.make_vit_bert(blind)
    told = {**json.loads((blind / "config.json").read_text())["decoder"], "add_cross_attention": False}
    refused(blind, "never sees the picture", Allow(weights=True), decoder=told)
    config = transformers.BertConfig(**small.SMALL, vocab_size=90, max_position_embeddings=40, is_decoder=True, add_cross_attention=True)
    encoder = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 32], depths=[1, 1])
    encoder.hidden_size = 32
    small._encoder_decoder(unsized, encoder, config, start=2, stop=3, pad=0)
    refused(unsized, "names no image_size")
