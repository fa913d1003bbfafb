import re

import numpy as np
import pytest

from avsr.errors import AvsrError, LanguageError
from avsr.languages import MUAVIC_LANGUAGES
from avsr.synthetic.text import (
    FOREIGN_LANGUAGES,
    MAX_VOCABULARY,
    NUMBER_LANGUAGES,
    draw_text,
    is_spoken_word,
    normalize_word,
    spell_number,
    text_split,
    vocabulary,
)
from avsr.synthetic.utterance import make_utterance

pytest.importorskip("wordfreq")
SCRIPT = {"ar": "[ء-ي]+", "el": "[ΐ-ώ]+", "ru": "[а-яё]+"}


@pytest.mark.parametrize("language", MUAVIC_LANGUAGES)
def test_texts_are_words_of_the_script(language):
    rng = np.random.default_rng(1)
    texts = [draw_text(language, "train", rng) for _ in range(200)]
    for text in texts:
        assert text == text.lower().strip()
        assert len(text.split()) >= 3
        for word in text.split():
            assert re.fullmatch(SCRIPT.get(language, "[a-zà-ÿœß]+('[a-zà-ÿœß]+)*"), word), text
        assert len(text.split()[-1]) > 1, "a single letter at the end would be spelled"
    assert len(set(texts)) > 195


@pytest.mark.parametrize("language", MUAVIC_LANGUAGES)
def test_vocabulary_has_a_thousand_words_most_frequent_first(language):
    words, cumulated = vocabulary(language)
    assert len(words) == len(set(words)) == len(cumulated) == 1000
    assert cumulated[-1] == pytest.approx(1.0)
    assert np.all(np.diff(cumulated) > 0)


def test_words_are_drawn_by_their_frequency():
    words, cumulated = vocabulary("en")
    share = cumulated[words.index("the")] - (
        cumulated[words.index("the") - 1] if words[0] != "the" else 0
    )
    rng = np.random.default_rng(2)
    drawn = [word for _ in range(1500) for word in draw_text("en", "train", rng).split()]
    assert drawn.count("the") / len(drawn) == pytest.approx(share, abs=0.012)


def test_abbreviations_foreign_words_and_letters_are_left_out():
    assert not {"mr", "dr", "tv", "s", "etc", "uk"} & set(vocabulary("en")[0])
    assert not {"of", "the", "and", "to", "spd", "z.b"} & set(vocabulary("de")[0])
    assert {"a", "i", "it's", "don't"} <= set(vocabulary("en")[0])
    assert {"в", "и", "я"} <= set(vocabulary("ru")[0])


def test_splits_are_disjoint_and_sized():
    rng = np.random.default_rng(3)
    for split in ("train", "valid", "test"):
        for _ in range(20):
            assert text_split(draw_text("it", split, rng), "it") == split
    splits = [text_split(f"text {number}", "en") for number in range(4000)]
    assert splits.count("test") / 4000 == pytest.approx(0.05, abs=0.015)
    assert splits.count("valid") / 4000 == pytest.approx(0.05, abs=0.015)


def test_elisions_and_prefixes_are_joined():
    rng = np.random.default_rng(4)
    words = {word for _ in range(400) for word in draw_text("fr", "train", rng).split()}
    elided = [word for word in words if re.fullmatch("(l|d|c|qu|j|n|s|m|t)'.+", word)]
    assert len(elided) > 20
    assert all(word.split("'")[1][0] in "aeiouyàâéèêëîïôûœ" for word in elided)
    assert not words & {"l", "d", "c", "qu", "j"}
    arabic = [word for _ in range(200) for word in draw_text("ar", "train", rng).split()]
    assert "و" not in arabic


@pytest.mark.parametrize(
    ("language", "number", "text"),
    [
        ("en", 21, "twenty one"),
        ("de", 45, "fünfundvierzig"),
        ("fr", 99, "quatre vingt dix neuf"),
        ("es", 45, "cuarenta y cinco"),
        ("ar", 21, "واحد وعشرون"),
        ("ru", 80, "восемьдесят"),
    ],
)
def test_numbers_in_words(language, number, text):
    assert spell_number(number, language) == text


def test_years_and_share_of_numbers():
    assert spell_number(1984, "en", year=True) == "nineteen eighty four"
    assert "el" not in NUMBER_LANGUAGES  # num2words has no Greek
    tens = ("ty", "teen")
    rng = np.random.default_rng(5)
    texts = [draw_text("en", "train", rng) for _ in range(600)]
    numbers = sum(any(w.endswith(tens) and w != "party" for w in t.split()) for t in texts)
    assert 0.05 < numbers / 600 < 0.2


def test_normalisation():
    assert normalize_word("ΤΗΣ".lower(), "el") == "της"
    assert normalize_word("τησ", "el") == "της"
    assert normalize_word("كِتَابٌ", "ar") == "كتاب"
    assert normalize_word("L’Homme", "fr") == "l'homme"


def test_mistakes():
    with pytest.raises(LanguageError, match="did you mean"):
        vocabulary("german")
    with pytest.raises(AvsrError, match="unknown split"):
        draw_text("en", "dev", np.random.default_rng(0))


def test_an_exponent_below_one_draws_rare_words_more_often():
    counts = []
    for exponent in (1.0, 0.5, 0.0):
        rng = np.random.default_rng(0)
        texts = [draw_text("en", "train", rng, exponent) for _ in range(300)]
        counts.append(len({word for text in texts for word in text.split()}))
    assert counts[0] < counts[1] < counts[2]
    words, cumulated = vocabulary("en", 0.0)
    np.testing.assert_allclose(np.diff(cumulated), 1 / len(words))


def test_texts_of_the_most_frequent_words_alone():
    words, cumulated = vocabulary("de", size=60)
    assert words == vocabulary("de")[0][:60]
    assert cumulated[-1] == 1.0
    rng = np.random.default_rng(2)
    drawn = {word for _ in range(200) for word in draw_text("el", "test", rng, words=50).split()}
    assert drawn <= set(vocabulary("el", size=50)[0])  # Greek: no prefixes, no numbers


@pytest.mark.parametrize("language", FOREIGN_LANGUAGES)
def test_foreign_languages_have_words_that_are_spoken(language):
    words, cumulative = vocabulary(language)
    assert len(words) > 600
    assert cumulative[-1] == 1
    assert make_utterance(1, "valid", language, 0).phones


def test_a_large_vocabulary_has_rare_words_but_no_abbreviations():
    words, cumulative = vocabulary("de", size=5000)
    assert len(words) == len(set(words)) == 5000
    assert {"landtagswahl", "lebensqualität"} & set(vocabulary("de", size=MAX_VOCABULARY)[0])
    assert not {"pdf", "kg", "iii", "xi"} & set(words)
    assert set(vocabulary("de")[0][:200]) - set(words) == set()
    assert np.all(np.diff(cumulative) > 0)
    russian = vocabulary("ru", size=3000)[0]
    assert {"в", "с", "к"} <= set(russian)
    assert "мвд" not in russian
    assert len(vocabulary("ar", size=3000)[0]) == 3000


def test_words_of_a_language_have_its_letters():
    assert is_spoken_word("l'homme", "fr")
    assert is_spoken_word("große", "de")
    assert not is_spoken_word("дом", "de")
    assert not is_spoken_word("house", "ru")
    assert not is_spoken_word("b2b", "en")
    assert not is_spoken_word("o''clock", "en")
    assert is_spoken_word("húsið", "da")
