"""Held against the ``tokenizers`` library with the whole vocabulary: the same tokens, and the same numbers out of a model of transformers."""

from __future__ import annotations

import pytest

from mmedge.errors import MmedgeError

torch = pytest.importorskip("torch")
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

from mmedge.distill.students.vocabulary import prune_vocabulary, with_vocabulary  # noqa: E402

LEARNT = ["the quick brown fox jumps over the lazy dog", "a flower, a flowering tree and flowers", "quickly jumping foxes browse", "doggedly treed lazier"] * 3
READ = ["a lazy flower", "the dog jumps quickly", "Foxes!"]
OTHER = ["brown trees dozed", "z", "flowers of the quickest"]


def wordpiece():
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made.train_from_iterator(LEARNT, trainers.WordPieceTrainer(vocab_size=120, special_tokens=special))
    made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)])
    made.enable_truncation(4)
    made.enable_padding(pad_id=0, pad_token="[PAD]", length=6)
    return made


def byte_level():
    """As GPT-2's and RoBERTa's, with a special token behind all others."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    made.train_from_iterator(LEARNT, trainers.BpeTrainer(vocab_size=340, special_tokens=["<s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    made.add_special_tokens(["</s>"])
    made.post_processor = processors.RobertaProcessing(("</s>", made.token_to_id("</s>")), ("<s>", 0))
    return made


def ending():
    """As CLIP's: the last letter of a word is another token."""
    made = Tokenizer(models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.train_from_iterator(LEARNT, trainers.BpeTrainer(vocab_size=120, special_tokens=["[UNK]"], end_of_word_suffix="</w>"))
    return made


def continuing():
    made = Tokenizer(models.BPE(unk_token="[UNK]", continuing_subword_prefix="##"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.train_from_iterator(LEARNT, trainers.BpeTrainer(vocab_size=120, special_tokens=["[UNK]"], continuing_subword_prefix="##"))
    return made


MADE = [wordpiece, byte_level, ending, continuing]


def pruned(whole):
    content, kept = prune_vocabulary(whole.to_str().encode(), READ)
    return Tokenizer.from_str(content.decode()), kept


@pytest.mark.parametrize("made", MADE)
def test_the_same_tokens_with_new_numbers(made):
    """Special tokens, truncation and filling included; and each number is a row of the old embedding."""
    whole = made()
    small, kept = pruned(whole)
    assert len(kept) == small.get_vocab_size() < whole.get_vocab_size()
    assert kept == sorted(set(kept))
    for text in READ:
        for pair in (None, READ[0]):
            old, new = whole.encode(text, pair), small.encode(text, pair)
            assert (new.tokens, new.attention_mask, new.type_ids) == (old.tokens, old.attention_mask, old.type_ids)
            assert [kept[one] for one in new.ids] == old.ids
            assert small.decode(new.ids) == whole.decode(old.ids)


@pytest.mark.parametrize("made", MADE)
def test_other_texts_can_still_be_spelt(made):
    whole = made()
    small, _ = pruned(whole)
    for text in OTHER:
        assert "[UNK]" not in small.encode(text).tokens or "[UNK]" in whole.encode(text).tokens
        assert not set(small.encode(text).tokens) - set(whole.get_vocab())
    assert any(small.encode(text).tokens != whole.encode(text).tokens for text in OTHER), "nothing was taken away"


def test_unused_words_are_gone_and_used_ones_stay():
    small, _ = pruned(wordpiece())
    words = set(small.get_vocab())
    assert {"lazy", "flower", "the", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "q", "##u"} - words == set()
    assert "brown" not in words and "brown" in wordpiece().get_vocab()


@pytest.mark.full
def test_a_model_says_the_same():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    whole = wordpiece()
    config = transformers.BertConfig(vocab_size=128, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, sep_token_id=3)
    teacher = transformers.BertModel(config).eval()
    small, kept = pruned(whole)
    found = with_vocabulary(teacher, kept)
    assert found.config.vocab_size == len(kept) == len(found.embeddings.word_embeddings.weight)
    assert (found.config.pad_token_id, found.config.sep_token_id) == (0, small.token_to_id("[SEP]"))
    assert sum(one.numel() for one in teacher.parameters()) - sum(one.numel() for one in found.parameters()) == (128 - len(kept)) * 16
    for text in READ:
        told = [model(torch.tensor([tokenizer.encode(text).ids])).last_hidden_state for model, tokenizer in ((teacher, whole), (found, small))]
        assert torch.equal(*told)


@pytest.mark.full
def test_ids_that_a_config_names_move_along():
    """RoBERTa's end stands behind all words."""
    transformers = pytest.importorskip("transformers")
    whole = byte_level()
    size = whole.get_vocab_size()
    sizes = {"vocab_size": size, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 40}
    teacher = transformers.RobertaModel(transformers.RobertaConfig(**sizes, bos_token_id=0, eos_token_id=size - 1, pad_token_id=1)).eval()
    small, kept = pruned(whole)
    found = with_vocabulary(teacher, kept)
    assert (found.config.bos_token_id, found.config.eos_token_id) == (0, len(kept) - 1)
    told = [model(torch.tensor([tokenizer.encode(READ[1]).ids])).last_hidden_state for model, tokenizer in ((teacher, whole), (found, small))]
    assert torch.equal(*told)


def test_what_cannot_be_pruned():
    with pytest.raises(MmedgeError, match=r"this is no tokenizer\.json"):
        prune_vocabulary(b"{}", READ)
    unigram = Tokenizer(models.Unigram([("a", -1.0), ("b", -2.0)]))
    with pytest.raises(MmedgeError, match="a vocabulary of Unigram cannot be pruned"):
        prune_vocabulary(unigram.to_str().encode(), READ)
    with pytest.raises(MmedgeError, match="the tokens of no text at all"):
        prune_vocabulary(wordpiece().to_str().encode(), ["", " "])


@pytest.mark.full
def test_models_that_cannot_lose_words():
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
    with pytest.raises(MmedgeError, match="a BertForMaskedLM writes with its vocabulary"):
        with_vocabulary(transformers.BertForMaskedLM(transformers.BertConfig(**sizes)), [0, 1])
    with pytest.raises(MmedgeError, match="an id 20, the teacher only 20 words"):
        with_vocabulary(transformers.BertModel(transformers.BertConfig(**sizes)), [0, 20])


@pytest.mark.full
def test_minilm_reads_captions_with_a_tenth_of_its_words():
    """The real WordPiece of 30,522 tokens."""
    from mmedge import hub
    from mmedge.recipe import Recipe

    file = Recipe.load("assistant-mini").models["eyes"].files["tokenizer.json"]
    content = hub.fetch(file.sources[0], sha256=file.sha256).read_bytes()
    texts = ["A wind-blown tree.", "An Egyptian pyramid, with sphinxes.", "A flower."]
    small, kept = prune_vocabulary(content, texts)
    whole, small = Tokenizer.from_str(content.decode()), Tokenizer.from_str(small.decode())
    assert len(kept) < 3100
    for text in texts:
        assert small.encode(text).tokens == whole.encode(text).tokens
        assert [kept[one] for one in small.encode(text).ids] == whole.encode(text).ids
    assert "[UNK]" not in small.encode("Überraschung! 北京 naïve jabberwocky").tokens
