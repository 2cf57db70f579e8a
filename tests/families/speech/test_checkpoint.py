import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from mmedge.errors import MmedgeError
from mmedge.families.speech import Options, takes
from mmedge.families.speech.whisper.checkpoint import read_checkpoint

OPTIONS = Options(windows_s=(2,))


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_the_session_is_told(checkpoint):
    config = checkpoint.config
    assert (config.mels, config.max_tokens, config.tokenizer) == (80, 40, True)
    assert config.prompt == (1, 2, 4, 6) and config.stop == 0 and config.no_speech == 5
    assert config.suppress == (10, 11, 12) and config.suppress_first == (20, 0)


def test_language_is_a_token_of_the_prompt(copy):
    assert read_checkpoint(copy, Options(language="de", windows_s=(2,))).config.prompt == (1, 3, 4, 6)
    with pytest.raises(MmedgeError, match="no language 'xx'"):
        read_checkpoint(copy, Options(language="xx", windows_s=(2,)))
    edit(copy / "generation_config.json", is_multilingual=False)
    assert read_checkpoint(copy, OPTIONS).config.prompt == (1, 6)
    with pytest.raises(MmedgeError, match="English-only"):
        read_checkpoint(copy, Options(language="de", windows_s=(2,)))


def test_windows_must_ascend_and_fit(copy):
    for windows_s in [(), (30, 10), (10, 10), (0,), (10, 31)]:
        with pytest.raises(ValueError):
            Options(windows_s=windows_s)
    with pytest.raises(MmedgeError, match="listens to 2 s"):
        read_checkpoint(copy, Options(windows_s=(2, 30)))
    assert read_checkpoint(copy, Options()).config.windows_s == (2,), "where nothing is asked for, the model's own"


def drop_weight(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.encoder.conv1.bias"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def truncate(name):
    def cut(folder):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return cut


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json cannot be read"),
        (lambda folder: (folder / "config.json").write_text("[1]"), "holds no JSON object"),
        (truncate("config.json"), "config.json cannot be read"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights in safetensors"),
        (truncate("model.safetensors"), "model.safetensors"),
        (drop_weight, "model.encoder.conv1.bias"),
        (lambda folder: edit(folder / "config.json", encoder_layers=3), "lacks weights of Whisper"),
        (lambda folder: edit(folder / "config.json", activation_function="relu"), "another activation"),
        (lambda folder: edit(folder / "config.json", d_model="wide"), "d_model"),
        (lambda folder: edit(folder / "config.json", decoder_layers=None), "config.json holds a value|cannot be loaded"),
        (lambda folder: edit(folder / "generation_config.json", suppress_tokens="all"), "suppress_tokens is no list|cannot be loaded"),
        (lambda folder: edit(folder / "preprocessor_config.json", hop_length=320), "features of its own: hop_length 320"),
        (truncate("tokenizer.json"), "is no tokenizer"),
        (
            lambda folder: (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text().replace("<|notimestamps|>", "<|other|>")),
            "no token <.notimestamps",
        ),
        (lambda folder: (folder / "model.bin").write_bytes(b"\6\0\0\0\x0c\0WhisperSpec\0"), "damaged CTranslate2"),
    ],
)
def test_a_damaged_checkpoint_is_refused_and_the_reason_given(copy, damage, says):
    damage(copy)
    with pytest.raises(MmedgeError, match=says) as caught:
        read_checkpoint(copy, OPTIONS)
    assert caught.value.fix


def test_other_folders_are_not_taken(folder, tmp_path):
    assert not takes(folder) and not takes(tmp_path)
    (tmp_path / "model.bin").write_bytes(b"\6\0\0\0\x10\0TransformerSpec\0")
    assert not takes(tmp_path)
