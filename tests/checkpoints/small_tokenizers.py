"""Small tokenizers of the three kinds that checkpoints bring, and texts that are hard on them."""

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

TEXTS = [
    "Hello, world! It's five o'clock, isn't it?",
    "Ein Mädchen übt: 12 Kühe.\n\nNeue Zeile, \t Tab  und  Leerraum ",
    "你好,世界。图像里有一只猫。",
    "👨‍👩‍👧 👍🏽 🇩🇪 😀 ok",
    "e\u0301 n\u0303 a\u0300\u0316 \u0939\u093f\u0928\u094d\u0926\u0940",
]
SPECIAL = ["<s>", "</s>"]


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.train_from_iterator(TEXTS[:3], trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def byte_fallback():
    """As Llama 2 and other sentencepiece models have it."""
    words = ["▁", "▁H", "el", "lo", "▁world", *"Hdeilnorstuwzabcghkm,.!?:'12▁"]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys([*SPECIAL, "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]))}
    merges = [("e", "l"), ("l", "o"), ("▁", "H")]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def word_piece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    tokenizer.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]", *SPECIAL]))
    return tokenizer


KINDS = {"byte_level": byte_level, "byte_fallback": byte_fallback, "word_piece": word_piece}
