import json
import shutil
import struct

import numpy as np
import pytest
import torch

from mmedge.errors import MmedgeError
from mmedge.families.speech import Options, takes
from mmedge.families.speech.whisper.checkpoint import read_checkpoint
from mmedge.families.speech.whisper.ctranslate2 import read_variables, whisper_weights

ALIAS = ("decoder/projection/weight", "decoder/embeddings/weight")


@pytest.fixture
def ct2_folder(tmp_path, folder, ctranslate2_bytes, ctranslate2_variables):
    (tmp_path / "model.bin").write_bytes(ctranslate2_bytes(ctranslate2_variables, [ALIAS]))
    (tmp_path / "config.json").write_text(json.dumps({"suppress_ids": [10, 11, 12], "suppress_ids_begin": [20, 0], "lang_ids": []}))
    shutil.copy(folder / "tokenizer.json", tmp_path)
    return tmp_path


def test_the_model_is_the_same_from_either_folder(ct2_folder, checkpoint):
    assert takes(ct2_folder)
    other = read_checkpoint(ct2_folder, Options(windows_s=(2,)))
    theirs = checkpoint.model.state_dict()
    for name, value in other.model.state_dict().items():
        assert torch.equal(value, theirs[name]), name
    assert other.model.proj_out.weight is other.model.model.decoder.embed_tokens.weight, "the largest matrix is stored once"
    # 51 864 tokens or fewer: taken for English only, so the prompt names no language.
    assert other.config.model_copy(update={"prompt": checkpoint.config.prompt}) == checkpoint.config


@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_reduced_weights_are_widened(tmp_path, ctranslate2_bytes, ctranslate2_variables, checkpoint, kind):
    stored = {}
    for name, array in ctranslate2_variables.items():
        if kind == "float16":
            stored[name] = array.astype(np.float16) if array.dtype == np.float32 else array
        elif name.endswith("/weight") and array.ndim == 2:
            largest = np.abs(array).max(axis=1)
            scale = np.where(largest, 127 / np.where(largest, largest, 1), 1)
            stored[name], stored[f"{name}_scale"] = np.rint(array * scale[:, None]).astype(np.int8), scale.astype(np.float32)
        else:
            stored[name] = array
    (tmp_path / "model.bin").write_bytes(ctranslate2_bytes(stored))
    weights, _ = whisper_weights(tmp_path / "model.bin")
    for name, value in checkpoint.model.state_dict().items():
        step = 1e-3 if kind == "float16" else 1 / 127
        np.testing.assert_allclose(weights[name], value.numpy(), atol=step * max(1, float(value.abs().max())), err_msg=name)


def test_bfloat16_is_widened(tmp_path, ctranslate2_bytes):
    data = ctranslate2_bytes({"x": np.zeros(3, np.float16)}, spec="Other")
    at = data.index(struct.pack("<BI", 4, 6))
    data = data[:at] + struct.pack("<BI", 5, 6) + torch.tensor([1.5, -2.0, 0.1]).bfloat16().view(torch.int16).numpy().tobytes() + data[at + 11 :]
    (tmp_path / "model.bin").write_bytes(data)
    assert read_variables(tmp_path / "model.bin")[1]["x"].tolist() == torch.tensor([1.5, -2.0, 0.1]).bfloat16().float().tolist()


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path, ctranslate2_bytes, ctranslate2_variables):
    whole = ctranslate2_bytes(ctranslate2_variables, [ALIAS])
    for size in [*range(200), *range(200, len(whole), 997), len(whole) - 1]:
        (tmp_path / "model.bin").write_bytes(whole[:size])
        with pytest.raises(MmedgeError, match=r"damaged|no CTranslate2"):
            whisper_weights(tmp_path / "model.bin")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: data + b"more", "left over"),
        (lambda data: b"\7" + data[1:], "format 6"),
        (lambda data: data.replace(b"WhisperSpec", b"TransforSpe"), "not Whisper"),
        (lambda data: data.replace(b"encoder/conv1/bias", b"encoder/conv9/bias"), "not a whole Whisper"),
        (lambda data: data.replace(b"encoder/num_heads", b"encoder\xff\xfe_heads"), "not text"),
        (lambda data: data[:22] + b"\xff\xff\xff\xff" + data[26:], "claims 4294967295 variables"),
        (lambda data: data.replace(b"decoder/projection/weight\0\x1a", b"decoder/projection/weight\0\x02"), "lacks|too early|left over"),
    ],
)
def test_a_damaged_file_is_refused_and_the_reason_given(tmp_path, ctranslate2_bytes, ctranslate2_variables, damage, says):
    (tmp_path / "model.bin").write_bytes(damage(ctranslate2_bytes(ctranslate2_variables, [ALIAS])))
    with pytest.raises(MmedgeError, match=says) as caught:
        whisper_weights(tmp_path / "model.bin")
    assert "model.bin" in caught.value.what and caught.value.fix


def test_a_missing_bias_or_a_bias_for_keys_is_not_overlooked(tmp_path, ctranslate2_bytes, ctranslate2_variables):
    wrong = dict(ctranslate2_variables)
    wrong["encoder/layer_0/self_attention/linear_0/bias"] = np.ones(96, np.float32)
    (tmp_path / "model.bin").write_bytes(ctranslate2_bytes(wrong))
    with pytest.raises(MmedgeError, match="bias for keys"):
        whisper_weights(tmp_path / "model.bin")
