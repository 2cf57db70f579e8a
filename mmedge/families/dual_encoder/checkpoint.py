"""What a checkpoint says beside its weights: tokenizer, image processor, feature extractor; the text half of a joined one. Part of export: torch allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer

from mmedge.documents import read_plain
from mmedge.errors import MmedgeError, first_line
from mmedge.need import need
from mmedge.nets.checkpoint import tokenizer
from mmedge.nets.preprocessor import feature_extractor, image_processor
from mmedge.processors.clap_mel import ClapSettings
from mmedge.processors.patches import PatchSettings
from mmedge.processors.pixels import CLIP, SIGLIP, ImageSettings
from mmedge.processors.text import TextSettings

MODELS = {"clip": "CLIPModel", "chinese_clip": "ChineseCLIPModel", "siglip": "SiglipModel", "siglip2": "Siglip2Model", "clap": "ClapModel"}

PADS = {"clip": "<|endoftext|>", "chinese_clip": "[PAD]", "siglip": "</s>", "siglip2": "<pad>", "clap": "<pad>"}
"""What fills short texts where the checkpoint does not say."""


def load_bert(folder: Path) -> Any:
    """``sentence_encoder.json`` (a BERT config) and ``sentence_encoder.safetensors``. Raises MmedgeError: damaged, or they do not fit each other."""
    transformers, safetensors = need("transformers", extra="build"), need("safetensors.torch", extra="build")
    path = folder / "sentence_encoder.safetensors"
    config = transformers.BertConfig(**read_plain(folder / "sentence_encoder.json"), attn_implementation="eager")
    bert = transformers.BertModel(config, add_pooling_layer=False)
    try:
        # The pooler belongs to BERT's training; positions are counted, not learned.
        weights = {name: value for name, value in safetensors.load_file(path).items() if not name.startswith("pooler.") and not name.endswith("position_ids")}
        bert.load_state_dict(weights)
    except Exception as error:  # SafetensorError, which derives from Exception alone, or RuntimeError
        raise MmedgeError(f"{path} does not hold the weights of that BERT: {first_line(error)}", "get an undamaged checkpoint") from error
    return bert.eval()


def read_words(folder: Path, kind: str, positions: int) -> tuple[bytes, TextSettings] | None:
    """(tokenizer.json, how long texts are), or None where the checkpoint has no tokenizer.

    transformers' own tokenizer classes may do more than the file says: SigLIP 2's makes every text lower case, and its file does not. So what counts is the
    tokenizer that transformers makes of the folder; the file alone where it makes none.

    Raises:
        MmedgeError: the tokenizer is damaged.
    """
    content, pad_token, side, longest = tokenizer(folder), "", "right", positions
    if content is None:
        return None
    try:
        found = need("transformers", extra="build").AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        content, pad_token, side = found.backend_tokenizer.to_str().encode(), found.pad_token, found.padding_side
        longest = min(positions, found.model_max_length)
    except Exception:  # ValueError, OSError, ImportError, AttributeError and more: no class for it, or one that needs another package
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            told = read_plain(folder / name, required=False).get("pad_token")
            pad_token = (told.get("content") if isinstance(told, dict) else told) or pad_token
    settings = text_settings(content, pad_token or PADS[kind], longest, fixed=kind.startswith("siglip"))
    return content, settings.model_copy(update={"side": side})


def text_settings(content: bytes, pad_token: str, length: int, *, fixed: bool) -> TextSettings:
    """Raises MmedgeError: the tokenizer is damaged, or lacks its padding token."""
    try:
        pad_id = Tokenizer.from_buffer(content).token_to_id(pad_token)
    except Exception as error:  # tokenizers raises a bare Exception
        raise MmedgeError(f"tokenizer.json is no tokenizer: {first_line(error)}", "get an undamaged checkpoint") from error
    if pad_id is None:
        raise MmedgeError(f"the tokenizer has no token {pad_token!r} to fill short texts with", "get the checkpoint's own tokenizer")
    return TextSettings(length=length, fixed=fixed, pad_id=pad_id, pad_token=pad_token)


def read_image(folder: Path, model: Any) -> tuple[ImageSettings | PatchSettings, bool]:
    """How pictures are prepared, and True; or what golden pictures are made by, the model's own size, and False where the checkpoint has no image processor.

    Raises:
        MmedgeError: the image processor is damaged, asks for what mmedge does not do, or makes pictures of a size that the model does not take.
    """
    kind, vision, told = str(model.config.model_type), model.config.vision_config, image_processor(folder)
    found: ImageSettings | PatchSettings
    if kind == "siglip2":
        found = PatchSettings.from_preprocessor(told or {"patch_size": vision.patch_size, "max_num_patches": vision.num_patches})
        made, wanted = (found.patch,) * 2, _two(vision.patch_size)
    else:
        size = _two(vision.image_size)
        normal = SIGLIP if kind == "siglip" else CLIP
        found = (
            ImageSettings.from_preprocessor({"image_processor_type": kind, **told})
            if told
            else ImageSettings(resize=size, mean=normal["image_mean"], std=normal["image_std"])
        )
        made, wanted = found.crop or found.resize or size, size
    if made != wanted:
        raise MmedgeError(
            f"the image processor of {folder} makes {_by(made)} pixels, the model takes {_by(wanted)}", "get the preprocessor_config.json saved with the model"
        )
    return found, told is not None


def read_sound(folder: Path, model: Any) -> tuple[ClapSettings, bool]:
    """The same for sounds. Raises MmedgeError: the feature extractor is damaged, or does not fit the model."""
    audio, told = model.config.audio_config, feature_extractor(folder)
    fitting: Literal["fusion", "rand_trunc"] = "fusion" if audio.enable_fusion else "rand_trunc"
    found = ClapSettings.from_extractor(told) if told else ClapSettings(mels=audio.num_mel_bins, truncation=fitting, window_s=_window_s(audio))
    if found.truncation != fitting or found.mels != audio.num_mel_bins:
        raise MmedgeError(
            f"the feature extractor of {folder} gives {found.mels} bands, truncation {found.truncation}; the model takes {audio.num_mel_bins}, {fitting}",
            "get the preprocessor_config.json saved with the model",
        )
    if found.frames > (most := _frames(audio)):
        raise MmedgeError(
            f"the feature extractor of {folder} gives {found.frames} frames, the model takes {most}", "get the preprocessor_config.json saved with the model"
        )
    return found, told is not None


def _frames(audio: Any) -> int:
    """How many fit into the picture that CLAP's audio encoder folds them into."""
    return int(audio.spec_size * (audio.spec_size // audio.num_mel_bins))


def _window_s(audio: Any) -> int:
    """The whole seconds that fit, of at most the ten that CLAP was trained on."""
    usual = ClapSettings()
    return max(1, min(usual.window_s, (_frames(audio) - 1) * usual.hop // usual.rate_hz))


def _two(size: Any) -> tuple[int, int]:
    return (int(size), int(size)) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _by(size: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in size[::-1])
