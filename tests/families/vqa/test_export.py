"""What a checkpoint may lack, and what is refused; no graph is traced here."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from checkpoints import vqa as small
from checkpoints.captioner import POSITIONS, SIDE

from mmedge.build.golden import media
from mmedge.errors import MmedgeError
from mmedge.families.vqa import Options, assets, graphs, lacks
from mmedge.families.vqa.export import export
from mmedge.families.vqa.session import Session

pytestmark = pytest.mark.full


@pytest.fixture(scope="module", params=sorted(small.CHECKPOINTS))
def complete(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("complete")
    small.CHECKPOINTS[request.param](folder)
    return folder


def session_of(exported, folder):
    """Without runners: what is refused is refused before any graph runs."""
    for name, content in exported.assets.items():
        (folder / name).write_bytes(content)
    return Session({}, {name: folder / name for name in exported.assets}, exported.config)


@pytest.mark.parametrize(("lost", "named"), [("tokenizer", "tokenizer.json"), ("image processor", "preprocessor_config.json")])
def test_without_a_part(complete, tmp_path, lost, named):
    folder = shutil.copytree(complete, tmp_path / "folder")
    for name in ("tokenizer.json", "tokenizer_config.json") if lost == "tokenizer" else ("processor_config.json",):
        (folder / name).unlink()
    exported = export(folder, Options(), media())
    assert set(exported.graphs) == set(graphs(exported.config)) and set(exported.assets) == set(assets(exported.config))
    assert [case.call for case in exported.cases] == (["pixels"] if lost == "tokenizer" else ["tokens"])
    assert lacks(exported.config) == {lost: ("answer",) if exported.config.writer else ("answer", "scores")}
    with pytest.raises(MmedgeError, match=f"brought no {lost}") as caught:
        session_of(exported, folder).answer(media()["cat"], "is there a cat?")
    assert caught.value.fix == f"add its {named} to the checkpoint and export again"


def test_without_anything_but_weights(complete, tmp_path):
    folder = shutil.copytree(complete, tmp_path / "folder")
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        (folder / name).unlink()
    exported = export(folder, Options(), media())
    assert set(exported.graphs) == set(graphs(exported.config)) and exported.cases == []
    pixels = next(graph for graph in exported.graphs.values() if "pixel_values" in graph.inputs).inputs["pixel_values"]
    assert pixels.shape[:2] == (2, 3) and min(pixels.shape[2:]) == SIDE


def test_answers_begin_and_end_as_blips_generate_does(tmp_path):
    small.make_blip_vqa(tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"bos_token_id": 7, "eos_token_id": 9}))
    writer = export(tmp_path, Options(context=4000), media()).config.writer
    text = transformers.BlipConfig.from_pretrained(tmp_path).text_config
    assert (writer.start, writer.stop, writer.context) == ((text.bos_token_id,), (text.sep_token_id,), POSITIONS)


def test_a_longest_picture_is_none(tmp_path):
    """transformers drops patches at random beyond ``max_image_length``; all of them are kept instead, always the same."""
    small.make_vilt(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "max_image_length": 4}))
    first, second = (export(tmp_path, Options(), media()) for _ in range(2))
    for one, two in zip(first.cases, second.cases):
        assert str(one.expected) == str(two.expected)
    graph = first.graphs["classifier"]
    with torch.no_grad():
        assert np.isfinite(graph.module(*graph.inputs.values()).numpy()).all()


def test_refusals(tmp_path):
    small.make_blip_vqa(tmp_path)
    shutil.copytree(tmp_path, tmp_path / "size")
    image = transformers.BlipImageProcessorPil(size={"height": 48, "width": 48})
    (tmp_path / "size" / "processor_config.json").unlink()
    image.save_pretrained(tmp_path / "size")
    with pytest.raises(MmedgeError, match="makes pictures of 48 x 48, the model takes 32 x 32"):
        export(tmp_path / "size", Options(), media())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["BlipModel"]}))
    with pytest.raises(MmedgeError, match="does not answer questions about pictures"):
        export(tmp_path, Options(), media())
