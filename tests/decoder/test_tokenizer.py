import pytest

from avsr.decoder import BOS, EOS, PAD, UNK, Tokenizer
from avsr.errors import ModelError

TEXTS = ["the cat sat on the mat", "кот сидит на окне", "القط على السجادة", "το γατί κάθεται"] * 20


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(TEXTS, 46)


def test_special_symbols_and_size(tokenizer):
    assert (BOS, PAD, EOS, UNK) == (0, 1, 2, 3)
    assert len(tokenizer) == 46
    assert tokenizer.pieces([0, 1, 2, 3]) == ["<s>", "<pad>", "</s>", "<unk>"]


@pytest.mark.parametrize("text", TEXTS[:4])
def test_text_survives(tokenizer, text):
    tokens = tokenizer.encode(text)
    assert UNK not in tokens
    assert tokenizer.decode([*tokens, EOS, PAD]) == text
    assert Tokenizer(tokenizer.model).encode(text) == tokens


def test_words_are_encoded_apart(tokenizer):
    apart = [token for word in TEXTS[0].split() for token in tokenizer.encode(word)]
    assert apart == tokenizer.encode(TEXTS[0])


def test_what_is_no_tokenizer_is_refused(tmp_path):
    with pytest.raises(ModelError, match="not a sentencepiece model"):
        Tokenizer(b"nonsense")
    with pytest.raises(ModelError, match=r"needs tokenizer\.model"):
        Tokenizer.load(tmp_path / "tokenizer.model")
    with pytest.raises(ModelError, match="at most"):
        Tokenizer.train(["a b"], 5000)
