import math
import random

import pytest

from avsr.evaluation import EditCounts, UtteranceResult, cer, char_errors, score, wer, word_errors
from avsr.evaluation.scores import macro_average


def outcome(language: str, reference: str, hypothesis: str, detected: str | None = None):
    return UtteranceResult(
        utterance_id="u",
        language=language,
        reference=reference,
        hypothesis=hypothesis,
        detected=detected,
    )


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("a b c d", "a b c d", EditCounts(0, 0, 0, 4)),
        ("a b c d", "a x c d", EditCounts(1, 0, 0, 4)),
        ("a b c d", "a c d", EditCounts(0, 1, 0, 4)),
        ("a b c d", "a b b c d", EditCounts(0, 0, 1, 4)),
        ("a b", "", EditCounts(0, 2, 0, 2)),
        ("", "a b", EditCounts(0, 0, 2, 0)),
        ("", "", EditCounts(0, 0, 0, 0)),
    ],
)
def test_word_errors(reference, hypothesis, expected):
    assert word_errors(reference, hypothesis) == expected


def test_character_errors_count_spaces():
    assert char_errors("ab cd", "abcd") == EditCounts(0, 1, 0, 5)
    assert char_errors("λόγος", "λόγοι").rate == pytest.approx(0.2)


def test_rates_are_those_of_jiwer():
    jiwer = pytest.importorskip("jiwer")
    draw = random.Random(0)
    texts = [" ".join(draw.choices("ab cd efg h", k=8)).split() for _ in range(60)]
    references = [" ".join(words) or "x" for words in texts[:30]]
    hypotheses = [" ".join(words) for words in texts[30:]]
    assert wer(references, hypotheses, "en") == pytest.approx(jiwer.wer(references, hypotheses))
    assert cer(references, hypotheses, "en") == pytest.approx(jiwer.cer(references, hypotheses))


def test_rates_normalise_and_count_all_words_together():
    assert wer(["Hello, world!", "One two three four"], ["hello world", "one"], "en") == 0.5
    with pytest.raises(ValueError, match="at least one"):
        wer([], [], "en")


def test_rate_without_references():
    assert EditCounts(0, 0, 0, 0).rate == 0.0
    assert EditCounts(0, 0, 3, 0).rate == math.inf
    scores = score([outcome("en", "...", "three words here")])
    assert scores["en"].to_dict(detected=False)["wer"] is None  # JSON has no infinity


def test_scores_by_language_and_their_mean():
    scores = score(
        [
            outcome("fr", "un deux", "un deux", "fr"),
            outcome("en", "one two three four", "one two three", "en"),
            outcome("fr", "un deux", "un", "en"),
            outcome("fr", "un deux trois quatre", "un deux trois quatre", None),
        ]
    )
    assert list(scores) == ["en", "fr"]
    rows = [scores[code].to_dict(detected=True) for code in scores]
    assert (rows[0]["wer"], rows[1]["wer"]) == (0.25, 0.125)
    assert (rows[0]["language_accuracy"], rows[1]["language_accuracy"]) == (1.0, 1 / 3)
    assert rows[1]["utterances"] == 3
    mean = macro_average(rows)
    assert mean["wer"] == pytest.approx(0.1875)  # languages count the same, however many words
    assert mean["language_accuracy"] == pytest.approx(2 / 3)


def test_no_language_accuracy_where_the_language_was_given():
    rows = [score([outcome("en", "a", "a")])["en"].to_dict(detected=False)]
    assert rows[0]["language_accuracy"] is None
    assert macro_average(rows) == {"wer": 0.0, "cer": 0.0, "language_accuracy": None}
