"""Folders with the signature of ``optimum-cli export onnx``, written by hand, so that they cost nothing: one layer of everything, with caches that work."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, parser
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, ViTImageProcessorPil

WIDTH, WORDS, PLACES = 8, 64, 48
TEMPLATE = "{% for message in messages %}<u>{{ message['content'] }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"


def weights(prefix: str = "", seed: int = 0) -> list[onnx.TensorProto]:
    random = np.random.default_rng(seed)
    square = {name: random.standard_normal((WIDTH, WIDTH)) for name in ("wq", "wk", "wv", "wcq", "wck", "wcv")}
    others = {"words": random.standard_normal((WORDS, WIDTH)), "places": random.standard_normal((PLACES, WIDTH)), "out": random.standard_normal((WIDTH, WORDS))}
    made = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in {**square, **others}.items()]
    constants = {"zero": 0, "one": 1, "two": 2, "axis1": [1], "axis0": [0], "last": [-1]}
    made += [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()]
    return [*made, numpy_helper.from_array(np.array(-1e9, np.float32), "never")]


def body(past: bool, cross: str, given_positions: bool = False) -> str:
    """One layer. ``past``: whether a cache goes in (pk, pv); ``cross``: past (keys go in: gk, gv), states (computed here), none."""
    grown = "k = Concat<axis=2>(pk, knew)\n v = Concat<axis=2>(pv, vnew)\n" if past else "k = Identity(knew)\n v = Identity(vnew)\n"
    before = "shaped = Shape(pk)\n before = Gather(shaped, two)\n" if past else "before = Identity(zero)\n"
    looked = """
 q2 = MatMul(h2, wcq)
 q3 = Unsqueeze(q2, axis1)
 kt2 = Transpose<perm=[0,1,3,2]>(ck)
 scores2 = MatMul(q3, kt2)
 chances2 = Softmax<axis=-1>(scores2)
 mixed2 = MatMul(chances2, cv)
 flat2 = Squeeze(mixed2, axis1)
 h3 = Add(h2, flat2)
"""
    keys = {
        "past": "ck = Identity(gk)\n cv = Identity(gv)\n",
        "states": """
 ck1 = MatMul(encoder_hidden_states, wck)
 ck = Unsqueeze(ck1, axis1)
 cv1 = MatMul(encoder_hidden_states, wcv)
 cv = Unsqueeze(cv1, axis1)
""",
    }
    return f"""
 sizes = Shape(input_ids)
 count = Gather(sizes, one)
 {before}
 total = Add(before, count)
 counted = Range(before, total, one)
 {"at = Identity(position_ids)" if given_positions else "at = Unsqueeze(counted, axis0)"}
 x = Gather(words, input_ids)
 p = Gather(places, at)
 h = Add(x, p)
 q1 = MatMul(h, wq)
 q = Unsqueeze(q1, axis1)
 k1 = MatMul(h, wk)
 knew = Unsqueeze(k1, axis1)
 v1 = MatMul(h, wv)
 vnew = Unsqueeze(v1, axis1)
 {grown}
 kt = Transpose<perm=[0,1,3,2]>(k)
 scores = MatMul(q, kt)
 columns = Range(zero, total, one)
 rows = Unsqueeze(counted, last)
 seen = LessOrEqual(columns, rows)
 masked = Where(seen, scores, never)
 chances = Softmax<axis=-1>(masked)
 mixed = MatMul(chances, v)
 flat = Squeeze(mixed, axis1)
 h2 = Add(h, flat)
 {keys.get(cross, "")}
 {looked if cross != "none" else "h3 = Identity(h2)"}
 logits = MatMul(h3, out)
"""


def nodes(text: str) -> list[onnx.NodeProto]:
    parsed = parser.parse_graph(f"g (float[1] unused) => (float[1] logits) {{{text}}}")
    return list(parsed.node)


def value(name: str, *shape: int | str, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(shape))


IDS = value("input_ids", "batch_size", "decoder_sequence_length", kind=TensorProto.INT64)
STATES = value("encoder_hidden_states", "batch_size", "encoder_sequence_length", WIDTH)
LOGITS = value("logits", "batch_size", "decoder_sequence_length", WORDS)


def cache(kind: str, side: str) -> list[onnx.ValueInfoProto]:
    length = {
        "decoder": "past" if side.startswith("past") else "past + tokens",
        "encoder": "encoder_sequence_length",
        "": "past" if side.startswith("past") else "past + tokens",
    }
    return [value(f"{side}.0.{kind + '.' if kind else ''}{part}", "batch_size", 1, length[kind], WIDTH) for part in ("key", "value")]


def save(path: Path, graph: onnx.GraphProto, external: bool = False) -> None:
    used = {name for node in graph.node for name in node.input}
    for node in graph.node:
        for attribute in node.attribute:
            used |= {name for inner in attribute.g.node for name in inner.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path), save_as_external_data=external, location=f"{path.name}_data", size_threshold=64)


def renamed(made: list[onnx.NodeProto], names: dict[str, str]) -> list[onnx.NodeProto]:
    for node in made:
        for side in (node.input, node.output):
            for index, name in enumerate(side):
                side[index] = names.get(name, name)
    return made


def decoder(folder: Path, merged: bool, external: bool = False) -> None:
    """decoder_model_merged.onnx; or decoder_model.onnx and decoder_with_past_model.onnx."""
    names = {"k": "present.0.decoder.key", "v": "present.0.decoder.value", "ck": "present.0.encoder.key", "cv": "present.0.encoder.value"}
    own, other = cache("decoder", "present"), cache("encoder", "present")
    first = renamed(nodes(body(False, "states")), names)
    given = {f"{short}{part[0]}": f"past_key_values.0.{side}.{part}" for short, side in (("p", "decoder"), ("g", "encoder")) for part in ("key", "value")}
    later = renamed(nodes(body(True, "past")), {**given, "k": "present.0.decoder.key", "v": "present.0.decoder.value"})
    pasts = [*cache("decoder", "past_key_values"), *cache("encoder", "past_key_values")]
    if not merged:
        save(folder / "decoder_model.onnx", helper.make_graph(first, "g", [IDS, STATES], [LOGITS, *own, *other], weights()), external)
        save(folder / "decoder_with_past_model.onnx", helper.make_graph(later, "g", [IDS, *pasts], [LOGITS, *own], weights()), external)
        return
    empty = [
        helper.make_node("Constant", [], [f"empty.{part}"], value=numpy_helper.from_array(np.zeros((0, 1, 1, 1), np.float32))) for part in ("key", "value")
    ]
    outputs = [LOGITS, *own, *other]
    tag = [renamed(branch, {one: f"{one}/{index}" for node in branch for one in node.output}) for index, branch in enumerate((first, later))]
    results = [[value_named(one, f"{one.name}/{index}") for one in outputs] for index in range(2)]
    results[1][3:] = [value_named(one, f"empty.{part}") for one, part in zip(other, ("key", "value"))]
    choice = helper.make_node(
        "If",
        ["use_cache_branch"],
        [one.name for one in outputs],
        then_branch=helper.make_graph([*tag[1], *empty], "with_past", [], results[1]),
        else_branch=helper.make_graph(tag[0], "no_past", [], results[0]),
    )
    flag = value("use_cache_branch", 1, kind=TensorProto.BOOL)
    save(folder / "decoder_model_merged.onnx", helper.make_graph([choice], "merged", [IDS, STATES, *pasts, flag], outputs, weights()), external)


def value_named(one: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    made = onnx.ValueInfoProto()
    made.CopyFrom(one)
    made.name = name
    return made


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
