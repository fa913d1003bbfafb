"""Cues: worked out by hand, and against every other way to cut a few words."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsr.transcript import (
    Cue,
    Passage,
    Segment,
    Transcript,
    Word,
    make_cues,
    transcript_cues,
)
from avsr.transcript.cues import _Cutter, _timed
from avsr.transcript.lines import text_width

NEVER = 1e6  # s


def speak(text: str, seconds: float, start: float = 0.0, pause: float = 0.0) -> tuple[Word, ...]:
    """Words of ``seconds`` each, one after the other, with a pause between."""
    step = seconds + pause
    return tuple(
        Word(word, start + i * step, start + i * step + seconds, 0.9)
        for i, word in enumerate(text.split())
    )


def cut(words: tuple[Word, ...], language: str = "en", end: float = NEVER) -> tuple[Cue, ...]:
    return make_cues([Passage("", language, 0.0, end, words)])


def test_a_short_sentence_is_one_cue_that_ends_with_its_words() -> None:
    (cue,) = cut(speak("place red at two now", 0.4, start=1.0))
    assert (cue.start, cue.end) == pytest.approx((1.0, 3.0))
    assert cue.lines == ("place red at two now",)
    assert cue.language == "en"


def test_a_flash_stays_for_five_sixths_of_a_second() -> None:
    (cue,) = cut(speak("yes", 0.2, start=1.0))
    assert cue.end == pytest.approx(1.0 + 5 / 6)


def test_a_flash_does_not_outlast_the_recording() -> None:
    (cue,) = cut(speak("yes", 0.2, start=1.0), end=1.5)
    assert cue.end == 1.5


def test_words_spoken_fast_stay_until_they_can_be_read() -> None:
    """34 characters in 1 s: 2 s at 17 characters a second."""
    (cue,) = cut(speak("aaaaaa bbbbbb cccccc dddddd eeeeee", 0.2))
    assert cue.end == pytest.approx(2.0)


def test_sentences_are_kept_whole() -> None:
    """The cut is after the sentence, the line break after the comma."""
    one = "when the ship came in, we ran down to the harbour."
    two = "nobody had told us whether the captain was on board."
    first, second = cut(speak(f"{one} {two}", 0.3))
    assert first.lines == ("when the ship came in,", "we ran down to the harbour.")
    assert second.text == two


def test_a_long_pause_cuts() -> None:
    words = speak("come here", 0.4) + speak("he said", 0.4, start=3.8)
    first, second = cut(words)
    assert (first.text, second.text) == ("come here", "he said")
    assert first.end == pytest.approx(5 / 6)  # 0.8 s of speech would be too short
    assert second.start == 3.8


def test_lines_break_before_a_phrase_and_never_after_an_article() -> None:
    (cue,) = cut(speak("we carried the old wooden table into the garden behind it", 0.4))
    assert cue.lines == ("we carried the old wooden table", "into the garden behind it")


@pytest.mark.parametrize(
    ("language", "leaning"), [("de", "der"), ("fr", "les"), ("ru", "в"), ("ar", "في"), ("el", "το")]
)
def test_no_line_ends_with_a_short_word_that_leans_on_the_next(language: str, leaning: str) -> None:
    """The break that makes the lines most alike would be after the short word."""
    text = f"{'x' * 6} {'x' * 6} {'x' * 6} {leaning} {'x' * 9} {'x' * 9} {'x' * 5}"
    (cue,) = cut(speak(text, 0.6), language)
    assert cue.lines[1].split()[0] == leaning
    (cue,) = cut(speak(text, 0.6), "xx")
    assert cue.lines[0].split()[-1] == leaning, "without the list the middle wins"


def test_a_word_longer_than_a_line_stays_whole() -> None:
    long = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerk"
    cues = cut(speak(f"das {long} steht", 1.0), "de")
    lines = [line for cue in cues for line in cue.lines]
    assert lines == ["das", long, "steht"]
    assert all(len(cue.lines) <= 2 for cue in cues)


def test_marks_on_letters_take_no_room() -> None:
    """Four words of ten letters, each letter with a mark: 43 characters, two lines."""
    word = "بَ" * 10
    assert text_width(word) == 10
    (cue,) = cut(speak(" ".join([word] * 4), 1.0), "ar")
    assert len(cue.lines) == 2
    (cue,) = cut(speak(" ".join([word] * 3 + [word[:-2]]), 1.0), "ar")
    assert len(cue.lines) == 1


def test_a_word_that_will_not_end_is_shown_for_seven_seconds() -> None:
    (cue,) = cut((Word("ommm", 1.0, 20.0, 0.5),))
    assert (cue.start, cue.end) == (1.0, 8.0)


def test_slow_speech_is_cut_at_seven_seconds() -> None:
    """Ten words, one a second: two cues, five and five or nearly so."""
    cues = cut(speak("xxxx " * 10, 1.0))
    assert len(cues) == 2
    assert max(cue.end - cue.start for cue in cues) <= 7


def test_passages_have_their_own_cues_and_languages() -> None:
    german = Passage("", "de", 0.0, 2.0, speak("guten Tag", 0.3))
    spanish = Passage("", "es", 1.0, 3.0, speak("hola", 0.2, start=1.0))
    first, second = make_cues([german, spanish])
    assert (first.text, first.language, first.end) == ("guten Tag", "de", 5 / 6)
    assert (second.text, second.language, second.start) == ("hola", "es", 1.0)


def test_text_without_times_is_one_cue_over_the_whole_duration() -> None:
    text = "one two three four five six seven eight nine ten " * 3
    passages = [Passage(text, "en", 2.0, 12.5), Passage("end", "en", 12.5, 12.5)]
    cue, last = make_cues(passages)
    assert (cue.start, cue.end) == (2.0, 12.5)
    assert len(cue.lines) == 4  # 146 characters
    assert max(len(line) for line in cue.lines) <= 42
    assert cue.text == text.strip()
    assert (last.start, last.end) == pytest.approx((12.5, 12.5 + 5 / 6))


def test_nothing_said_is_no_cue() -> None:
    assert make_cues([]) == ()
    assert make_cues([Passage("  ", "en", 0.0, 5.0)]) == ()
    assert cut((Word(" ", 0.0, 1.0, 0.5),)) == ()


def test_a_transcript_brings_its_words_language_and_duration() -> None:
    values = {"file": "a.mp4", "language": "ru", "language_probs": {"ru": 1.0}, "modality": "av"}
    words = speak("привет мир", 0.1)
    (cue,) = transcript_cues(Transcript(**values, text="привет мир", words=words, duration=0.4))
    assert cue == Cue(0.0, 0.4, ("привет мир",), "ru")
    (cue,) = transcript_cues(Transcript(**values, text="привет мир", duration=3.0))
    assert cue == Cue(0.0, 3.0, ("привет мир",), "ru")


@pytest.mark.parametrize("time", [float("nan"), float("inf")])
def test_times_must_be_finite(time: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        cut((Word("a", 0.0, time, 0.5),))


texts = st.text("abcdé.,", min_size=1, max_size=14)
gaps = st.one_of(st.just(0.0), st.floats(0.0, 3.0))


@st.composite
def spoken(draw: st.DrawFn, max_words: int = 40) -> tuple[Word, ...]:
    """Words in order, some of no length, some that start together."""
    words, time = [], draw(gaps)
    for text in draw(st.lists(texts, min_size=1, max_size=max_words)):
        start = time + draw(gaps)
        time = start + draw(st.floats(0.0, 1.5))
        words.append(Word(text, start, time, 0.5))
    return tuple(words)


@settings(deadline=None)
@given(st.lists(spoken(15), min_size=1, max_size=3), st.floats(0.0, 200.0))
def test_whatever_is_said_cues_are_in_order_and_complete(
    parts: list[tuple[Word, ...]], duration: float
) -> None:
    """Passages may even overlap: their words are then moved, none is lost."""
    cues = make_cues([Passage("", "en", 0.0, duration, words) for words in parts])
    spoken_words = [word.text for words in parts for word in words]
    assert " ".join(cue.text for cue in cues).split() == spoken_words
    assert all(cue.start < cue.end <= cue.start + 7 for cue in cues)
    for cue, following in itertools.pairwise(cues):
        assert cue.end <= following.start
        assert following.start - cue.start >= 0.0399


@settings(deadline=None)
@given(st.lists(st.tuples(texts, st.floats(0.04, 6.9), gaps), min_size=1, max_size=40))
def test_every_limit_is_held_where_words_allow_it(parts: list[tuple[str, float, float]]) -> None:
    """No word is longer than a line or 7 s; each has the time that its letters and a space take."""
    words, time = [], 0.0
    for text, seconds, gap in parts:
        words.append(Word(text, time, time + seconds, 0.5))
        time += max(seconds + gap, (len(text) + 1) / 17, 5 / 6)
    cues = cut(tuple(words))
    starts = {word.start for word in words}
    for cue in cues:
        assert len(cue.lines) <= 2
        assert max(len(line) for line in cue.lines) <= 42
        assert 5 / 6 - 1e-6 <= cue.end - cue.start <= 7
        assert len(cue.text) / (cue.end - cue.start) <= 17 + 1e-6
        assert cue.start in starts
    ends = [word.end for word in words]
    for cue in cues:
        inside = [end for end in ends if cue.start < end]
        count = len(cue.text.split())
        reading = max(5 / 6, len(cue.text) / 17)
        assert cue.end <= max(inside[count - 1], cue.start + reading) + 1e-6


@settings(deadline=None, max_examples=60)
@given(spoken(8))
def test_the_cheapest_of_all_cuttings_is_found(words: tuple[Word, ...]) -> None:
    part = _timed(Passage("", "en", 0.0, NEVER, words), 0.0)
    assert part is not None
    cutter = _Cutter(part, NEVER)

    def total(cuts: tuple[int, ...]) -> tuple[float, ...]:
        edges = [0, *cuts, len(words)]
        costs = [cutter.cost(i, j)[0] for i, j in itertools.pairwise(edges)]
        return tuple(round(sum(column), 6) for column in zip(*costs, strict=True))

    def apart(cuts: tuple[int, ...]) -> bool:
        starts = [part.starts[k] for k in (0, *cuts)]
        return all(b - a >= 0.04 - 1e-6 for a, b in itertools.pairwise(starts))

    inner = range(1, len(words))
    every = [c for n in range(len(words)) for c in itertools.combinations(inner, n) if apart(c)]
    counts = [len(cue.text.split()) for cue in cut(words)]
    inner_edges = tuple(itertools.accumulate(counts[:-1]))
    assert total(inner_edges) == pytest.approx(min(total(cuts) for cuts in every), abs=1e-5)


@settings(deadline=None)
@given(spoken())
def test_moving_everything_moves_the_cues(words: tuple[Word, ...]) -> None:
    later = tuple(Word(w.text, w.start + 64.0, w.end + 64.0, 0.5) for w in words)
    moved = [(c.start - 64.0, c.end - 64.0) for c in cut(later)]
    here = [(c.start, c.end) for c in cut(words)]
    assert [c.lines for c in cut(later)] == [c.lines for c in cut(words)]
    for a, b in zip(moved, here, strict=True):
        assert a == pytest.approx(b, abs=1e-6)


def test_parts_of_a_recording_have_cues_of_their_own_language() -> None:
    parts = [
        Segment(
            start=start,
            end=start + 2,
            language=language,
            language_probs={language: 1.0},
            text=text,
            modality="av",
            words=speak(text, 0.5, start),
        )
        for start, language, text in ((1.0, "de", "guten tag"), (4.0, "es", "buenos dias"))
    ]
    whole = Transcript(
        file="talk.mp4",
        language="de",
        language_probs={"de": 1.0},
        text="guten tag buenos dias",
        modality="av",
        words=tuple(word for part in parts for word in part.words),
        duration=7.0,
        segments=tuple(parts),
    )
    cues = transcript_cues(whole)
    assert [(cue.start, cue.language, cue.lines) for cue in cues] == [
        (1.0, "de", ("guten tag",)),
        (4.0, "es", ("buenos dias",)),
    ]
