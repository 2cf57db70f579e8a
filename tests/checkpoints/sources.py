"""Folders with the signature of ``optimum-cli export onnx``, made of hand-written graphs, so that they cost nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, ViTImageProcessorPil

from .onnx_layers import IDS, LOGITS, PLACES, WIDTH, WORDS, body, cache, decoder, nodes, renamed, save, value, weights

TEMPLATE = "{% for message in messages %}<u>{{ message['content'] }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"


def words(folder: Path, begin: str = "", end: str = "", template: str = "") -> None:
    """A tokenizer of bytes, as far as the vocabulary reaches: letters, and what golden texts hold."""
    letters = sorted(set(pre_tokenizers.ByteLevel.alphabet()) & set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTĠ?<>"))
    tokens = ["<s>", "</s>", "<u>", "<a>", "<pad>", *letters]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens[:WORDS])}, []))
    tokenizer.add_special_tokens(["<s>", "</s>", "<u>", "<a>", "<pad>"])
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    if begin:
        tokenizer.post_processor = processors.TemplateProcessing(f"{begin} $A {end}", special_tokens=[(token, tokens.index(token)) for token in (begin, end)])
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    if template:
        made.chat_template = template
    made.save_pretrained(folder)


def write_json(path: Path, **content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def make_speech(folder: Path, complete: bool = True, merged: bool = True, external: bool = False) -> None:
    """Whisper: encoder_model.onnx and its decoders."""
    random = np.random.default_rng(1)
    mels = numpy_helper.from_array((0.3 * random.standard_normal((80, WIDTH))).astype(np.float32), "mels")
    graph = [
        helper.make_node("MaxPool", ["input_features"], ["slow"], kernel_shape=[100], strides=[100]),
        helper.make_node("Transpose", ["slow"], ["frames"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["frames", "mels"], ["last_hidden_state"]),
    ]
    inputs, outputs = [value("input_features", "batch_size", 80, 3000)], [value("last_hidden_state", "batch_size", 30, WIDTH)]
    save(folder / "encoder_model.onnx", helper.make_graph(graph, "encoder", inputs, outputs, [mels]), external)
    decoder(folder, merged, external)
    write_json(folder / "config.json", model_type="whisper", architectures=["WhisperForConditionalGeneration"], max_target_positions=PLACES, num_mel_bins=80)
    ids = {"lang_to_id": {"<|en|>": 2, "<|de|>": 3}, "task_to_id": {"transcribe": 4}, "no_timestamps_token_id": 4, "is_multilingual": True}
    write_json(folder / "generation_config.json", decoder_start_token_id=0, eos_token_id=1, suppress_tokens=[2], begin_suppress_tokens=[1], **ids)
    if complete:
        words(folder)


def make_captioner(folder: Path, complete: bool = True) -> None:
    """A vision encoder-decoder, merged."""
    side = numpy_helper.from_array(np.random.default_rng(1).standard_normal((3, WIDTH)).astype(np.float32), "colours")
    shape = numpy_helper.from_array(np.array([0, 3, -1], np.int64), "shape")
    graph = [
        helper.make_node("AveragePool", ["pixel_values"], ["patches"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Reshape", ["patches", "shape"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["columns"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["columns", "colours"], ["last_hidden_state"]),
    ]
    inputs, outputs = [value("pixel_values", "batch_size", 3, "height", "width")], [value("last_hidden_state", "batch_size", "patches", WIDTH)]
    save(folder / "encoder_model.onnx", helper.make_graph(graph, "encoder", inputs, outputs, [side, shape]))
    decoder(folder, merged=True)
    sizes = {"decoder_start_token_id": 0, "eos_token_id": 1, "decoder": {"n_positions": PLACES}}
    write_json(folder / "config.json", model_type="vision-encoder-decoder", architectures=["VisionEncoderDecoderModel"], **sizes)
    if complete:
        words(folder)
        ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)


def make_chat(folder: Path, complete: bool = True) -> None:
    """model.onnx with past_key_values, attention_mask (unused but for its sum) and position_ids."""
    names = {"pk": "past_key_values.0.key", "pv": "past_key_values.0.value", "k": "present.0.key", "v": "present.0.value"}
    made = renamed(nodes(body(True, "none", given_positions=True)), names)
    mask, at = (
        value(name, "batch_size", size, kind=TensorProto.INT64)
        for name, size in (("attention_mask", "past + tokens"), ("position_ids", "decoder_sequence_length"))
    )
    # The mask must be as long as everything that was read: where it is not, this addition fails.
    made = renamed(made, {"masked": "unmasked"})
    made = [node for node in made if node.output[0] != "chances"]
    place = next(index for index, node in enumerate(made) if node.output[0] == "mixed")
    made[place:place] = [
        helper.make_node("Cast", ["attention_mask"], ["counts"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["counts", "unity"], ["hidden"]),
        helper.make_node("Unsqueeze", ["hidden", "axis1"], ["hidden1"]),
        helper.make_node("Unsqueeze", ["hidden1", "axis1"], ["hidden2"]),
        helper.make_node("Add", ["unmasked", "hidden2"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["chances"], axis=-1),
    ]
    unity = numpy_helper.from_array(np.array(1, np.float32), "unity")
    graph = helper.make_graph(made, "chat", [IDS, mask, at, *cache("", "past_key_values")], [LOGITS, *cache("", "present")], [*weights(seed=3), unity])
    save(folder / "model.onnx", graph)
    write_json(folder / "config.json", model_type="llama", architectures=["LlamaForCausalLM"], eos_token_id=1, max_position_embeddings=PLACES)
    if complete:
        words(folder, template=TEMPLATE)


def make_dual(folder: Path, complete: bool = True, apart: bool = False) -> None:
    """CLIP: model.onnx with both towers; or text_model.onnx and vision_model.onnx."""
    seen = [
        helper.make_node("GlobalAveragePool", ["pixel_values"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "wi"], ["image_embeds"]),
    ]
    read = [
        helper.make_node("Gather", ["words", "input_ids"], ["x"]),
        helper.make_node("Cast", ["attention_mask"], ["m"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["m", "last"], ["m1"]),
        helper.make_node("Mul", ["x", "m1"], ["y"]),
        helper.make_node("ReduceMean", ["y", "axis1"], ["text_embeds"], keepdims=0),
    ]
    wi = numpy_helper.from_array(np.random.default_rng(4).standard_normal((3, WIDTH)).astype(np.float32), "wi")
    pixels, ids, mask = (
        value("pixel_values", "b", 3, "h", "w"),
        value("input_ids", "t", "s", kind=TensorProto.INT64),
        value("attention_mask", "t", "s", kind=TensorProto.INT64),
    )
    image, text = value("image_embeds", "b", WIDTH), value("text_embeds", "t", WIDTH)
    if apart:
        save(folder / "onnx" / "vision_model.onnx", helper.make_graph(seen, "v", [pixels], [image], [wi]))
        save(folder / "onnx" / "text_model.onnx", helper.make_graph(read, "t", [ids, mask], [text], weights()))
    else:
        save(folder / "model.onnx", helper.make_graph([*read, *seen], "clip", [ids, pixels, mask], [text, image], [*weights(), wi]))
    write_json(folder / "config.json", model_type="clip", architectures=["CLIPModel"], text_config={"max_position_embeddings": 32})
    if complete:
        words(folder, "<s>", "</s>")
        ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)


def make_classifier(folder: Path, takes: str, complete: bool = True) -> None:
    """model.onnx with logits over a picture, a text, or a sound."""
    out = numpy_helper.from_array(
        np.random.default_rng(5).standard_normal((WIDTH if takes == "text" else 3 if takes == "image" else 1, 3)).astype(np.float32), "w"
    )
    first = {
        "image": [helper.make_node("GlobalAveragePool", ["pixel_values"], ["mean"]), helper.make_node("Flatten", ["mean"], ["flat"])],
        "text": [helper.make_node("Gather", ["words", "input_ids"], ["x"]), helper.make_node("ReduceMean", ["x", "axis1"], ["flat"], keepdims=0)],
        "audio": [helper.make_node("Abs", ["input_values"], ["loud"]), helper.make_node("ReduceMean", ["loud", "axis1"], ["flat"], keepdims=1)],
    }[takes]
    given = {"image": value("pixel_values", "b", 3, "h", "w"), "text": IDS, "audio": value("input_values", "b", "samples")}[takes]
    graph = helper.make_graph([*first, helper.make_node("MatMul", ["flat", "w"], ["logits"])], "c", [given], [value("logits", "b", 3)], [*weights(), out])
    save(folder / "model.onnx", graph)
    write_json(folder / "config.json", model_type="vit", architectures=["ViTForImageClassification"], id2label={"0": "low", "1": "middle", "2": "high"})
    if complete and takes == "text":
        words(folder, "<s>", "</s>")
    elif complete and takes == "image":
        ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
    elif complete:
        write_json(folder / "preprocessor_config.json", feature_extractor_type="Wav2Vec2FeatureExtractor", sampling_rate=16000, do_normalize=False)
