import pytest

from avsr.transcript import time_words


def test_pieces_become_words_with_times():
    pieces = ["▁the", "▁qu", "i", "et", "▁", "hand"]
    spans = [(5, 6, 0.9), (10, 12, 0.8), (14, 15, 0.5), (20, 25, 0.4), (30, 31, 0.1), (50, 75, 0.7)]
    the, quiet, hand = time_words(pieces, spans)
    assert (the.text, the.start, the.end) == ("the", 0.2, 0.24)
    assert the.confidence == pytest.approx(0.9)
    assert (quiet.text, quiet.start, quiet.end) == ("quiet", 0.4, 1.0)
    assert quiet.confidence == pytest.approx((0.8 * 0.5 * 0.4) ** (1 / 3))
    assert (hand.text, hand.start, hand.end) == ("hand", 2.0, 3.0)  # the lone space is left out
    assert hand.confidence == pytest.approx(0.7)


def test_the_first_piece_needs_no_space():
    assert [w.text for w in time_words(["a", "b", "▁c"], [(0, 1, 1.0)] * 3)] == ["ab", "c"]


def test_spaces_alone_are_no_words():
    pieces = ["▁", "▁a", "▁", "▁"]
    assert [w.text for w in time_words(pieces, [(0, 1, 1.0)] * 4)] == ["a"]


def test_any_script():
    words = time_words(["▁при", "вет", "▁γεια", "▁مرحبا"], [(i, i + 1, 0.5) for i in range(4)])
    assert [w.text for w in words] == ["привет", "γεια", "مرحبا"]


def test_nothing():
    assert time_words([], []) == ()


def test_pieces_and_spans_must_match():
    with pytest.raises(ValueError, match="2 pieces, but 1 spans"):
        time_words(["▁a", "▁b"], [(0, 1, 1.0)])
