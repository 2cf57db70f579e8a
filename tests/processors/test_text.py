from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from mmedge.errors import MmedgeError
from mmedge.processors.text import TextProcessor, TextSettings

TEXTS = [
    "a photo of a cat",
    "",
    "A Photo, of 2 cats & a dog's bowl!  ",
    "très joli café — naïve",
    "an unbelievably long caption about a bicycle " * 5,
    "猫 and 🐈",
]
CORPUS = [*TEXTS, "the quick brown fox jumps over the lazy dog", "is there a bicycle in front of the house?", "a cup of coffee on a table"] * 3


def word_pieces():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.enable_padding(length=128, pad_token="[PAD]")  # what MiniLM's own file says, and nobody wants
    return tokenizer, {"pad_token": "[PAD]", "unk_token": "[UNK]"}, False, 16


def byte_pairs():
    """As CLIP's: its end token also fills."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(" +", " "), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|startoftext|>", "<|endoftext|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, end_of_word_suffix="</w>", initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<|startoftext|> $A <|endoftext|>", special_tokens=list(zip(special, (0, 1))))
    return tokenizer, {"pad_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "bos_token": "<|startoftext|>"}, False, 77


def unigrams():
    """As SigLIP's: its end token also fills, always up to 64."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(CORPUS, trainers.UnigramTrainer(vocab_size=120, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer, {"pad_token": "</s>", "eos_token": "</s>", "unk_token": "<unk>"}, True, 64


@pytest.mark.full
@pytest.mark.parametrize("make", [word_pieces, byte_pairs, unigrams])
def test_equal_to_transformers(make, tmp_path):
    from transformers import PreTrainedTokenizerFast

    tokenizer, special, fixed, length = make()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    theirs = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=length, padding_side="right", **special)
    settings = TextSettings(length=length, fixed=fixed, pad_id=theirs.pad_token_id, pad_token=theirs.pad_token)
    ours = TextProcessor(tmp_path / "tokenizer.json", settings)
    for texts in (TEXTS, TEXTS[:1], TEXTS[3:5]):
        expected = theirs(texts, padding="max_length" if fixed else "longest", truncation=True, return_tensors="np")
        found = ours(texts)
        for name in ("input_ids", "attention_mask"):
            assert found[name].dtype == np.int64
            np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.full
def test_equal_to_transformers_own_clip_tokenizer(tmp_path):
    """From ``vocab.json`` and ``merges.txt``, as older CLIP folders have them."""
    import transformers

    tokenizer, *_ = byte_pairs()
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary = model["vocab"]
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]))
    theirs = transformers.CLIPTokenizerFast(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"), model_max_length=77)
    (tmp_path / "tokenizer.json").write_text(theirs.backend_tokenizer.to_str())
    ours = TextProcessor(tmp_path / "tokenizer.json", TextSettings(length=77, pad_id=theirs.pad_token_id, pad_token=theirs.pad_token))
    expected = theirs(TEXTS, padding=True, truncation=True, return_tensors="np")
    np.testing.assert_array_equal(ours(TEXTS)["input_ids"], expected["input_ids"])
    assert len({tuple(row) for row in expected["input_ids"].tolist()}) == len(TEXTS)


def test_padding_cutting_and_nothing_at_all(tmp_path):
    tokenizer, *_ = word_pieces()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ours = TextProcessor(tmp_path / "tokenizer.json", TextSettings(length=6, pad_id=0, pad_token="[PAD]"))
    found = ours(["a cat", "a photo of a cat on a table"])
    assert found["input_ids"].shape == (2, 6) and found["input_ids"][1, -1] == 3 and found["attention_mask"].tolist()[0][-1] == 0
    with pytest.raises(MmedgeError, match="no text"):
        ours([])
    with pytest.raises(TypeError):
        ours("a cat")


@pytest.mark.parametrize("content", ["{", '{"version": "1.0"}'])
def test_a_file_that_is_no_tokenizer(content, tmp_path: Path):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(MmedgeError, match="is no tokenizer"):
        TextProcessor(tmp_path / "tokenizer.json", TextSettings(length=6, pad_id=0, pad_token="[PAD]"))


CHINESE = ["一只猫", "一杯咖啡放在桌子上", "ＡＢＣ，全角！", "这是 a cat 和 2只狗", "", "𠮷野家", "房子前面有自行车吗？" * 4]


@pytest.mark.full
def test_chinese_as_bert_of_transformers_cuts_it(tmp_path):
    """Single characters, full-width signs and mixed texts; also one beyond the basic plane, which no vocabulary here has."""
    import transformers

    signs = sorted({sign for text in CHINESE[:5] for sign in text.lower() if not sign.isspace()})
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *signs, "cat", "##t", "##b", "##c"]) + "\n", encoding="utf-8")
    theirs = transformers.BertTokenizer.from_pretrained(tmp_path, model_max_length=32)
    theirs.save_pretrained(tmp_path)
    ours = TextProcessor(tmp_path / "tokenizer.json", TextSettings(length=32, pad_id=0, pad_token="[PAD]"))
    expected, found = theirs(CHINESE, padding=True, truncation=True, return_tensors="np"), ours(CHINESE)
    for name in ("input_ids", "attention_mask"):
        np.testing.assert_array_equal(found[name], expected[name])
    ids = found["input_ids"]
    assert ids.shape[1] == 32 and len({tuple(row) for row in ids.tolist()}) == len(CHINESE)
    assert (ids[0] > 4).sum() == 3 and 1 not in ids[:2] and 1 in ids[5]


@pytest.mark.full
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_side_of_the_filling(side, tmp_path):
    from transformers import PreTrainedTokenizerFast

    tokenizer, special, *_ = byte_pairs()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    theirs = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=9, padding_side=side, **special)
    ours = TextProcessor(tmp_path / "tokenizer.json", TextSettings(length=9, fixed=True, pad_id=theirs.pad_token_id, pad_token=theirs.pad_token, side=side))
    expected = theirs(TEXTS, padding="max_length", truncation=True, return_tensors="np")
    for name in ("input_ids", "attention_mask"):
        np.testing.assert_array_equal(ours(TEXTS)[name], expected[name])
