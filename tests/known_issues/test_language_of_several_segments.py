"""The language of a recording in segments: the likeliest of its own probabilities, or unknown.

It was the one of most seconds, also with a probability below one half, and one sure segment spoke
for any number of unsure neighbours. A language given by hand was printed with the classifier's
probability, such as "de (0.00)".
"""

from collections.abc import Sequence

from avsr.cli import transcribe
from avsr.recognition.assembly import assemble_transcript
from avsr.recognition.options import TranscribeOptions
from avsr.transcript import Segment, Transcript


def segment(
    language: str, probs: Sequence[float], *, seconds: float = 1.0, doubt: float | None = None
) -> Segment:
    return Segment(
        start=0.0,
        end=seconds,
        language=language,
        language_probs=dict(zip(("de", "en", "fr"), probs, strict=True)),
        text="a",
        modality="audio",
        reliable=None if doubt is None else doubt <= 0,
        reliability_reasons=("b",) if doubt is not None and doubt > 0 else (),
        doubt=doubt,
    )


def join(*segments: Segment, language: str = "auto") -> Transcript:
    return assemble_transcript(
        "talk.wav",
        segments,
        is_whole=len(segments) == 1,
        duration=sum(s.end for s in segments),
        warnings=[],
        sync_warnings=[],
        options=TranscribeOptions(language=language),
        mouth=None,
        advice="Do this.",
    )


def test_it_is_the_likeliest_of_its_probabilities():
    # German is decoded for more seconds, but English has more probability.
    talk = join(
        segment("de", (0.51, 0.49, 0.0), seconds=2),
        segment("de", (0.51, 0.49, 0.0), seconds=2),
        segment("en", (0.0, 1.0, 0.0), seconds=3),
    )
    assert talk.language == next(iter(talk.language_probs)) == "en"


def test_below_one_half_it_is_unknown():
    talk = join(segment("de", (0.6, 0.4, 0.0)), segment("en", (0.1, 0.5, 0.4)))
    assert max(talk.language_probs.values()) < 0.5
    assert talk.language == "unknown"
    assert [s.language for s in talk.segments] == ["de", "en"]
    assert "no single language fills half of the recording; see the segments" in talk.warnings


def test_one_sure_segment_does_not_speak_for_unsure_ones():
    talk = join(*[segment("de", (0.4, 0.3, 0.3))] * 3, segment("de", (0.7, 0.3, 0.0)))
    assert {s.language for s in talk.segments} == {"unknown"}
    assert talk.language == "unknown"
    assert talk.warnings == ("in parts the language is not sure; see the segments",)


def test_a_language_given_by_hand_stays():
    talk = join(*[segment("fr", (0.5, 0.5, 0.0), doubt=1.0)] * 2, language="fr")
    assert talk.language == "fr"
    assert {s.language for s in talk.segments} == {"fr"}
    assert talk.reliable is False
    assert transcribe._as_line(talk, is_detected=False) == "talk.wav  fr  a a"


def test_a_recording_is_not_reliable_if_half_of_its_seconds_are_not():
    good, bad = segment("de", (1.0, 0.0, 0.0), doubt=-1.0), segment("en", (0, 1, 0), doubt=2.0)
    talk = join(good, bad)
    assert (talk.reliable, talk.reliability_reasons, talk.advice) == (False, ("b",), "Do this.")
    assert talk.language == "unknown"
    assert [s.language for s in talk.segments] == ["de", "unknown"]
    assert talk.language_probs == {"de": 0.5, "en": 0.5, "fr": 0.0}
    assert talk.warnings == ()
    talk = join(good, good, bad)
    assert (talk.reliable, talk.reliability_reasons, talk.advice) == (True, (), "Do this.")
    assert talk.language == "de"
    assert [s.reliable for s in talk.segments] == [True, True, False]


def test_a_model_without_statistics_is_not_judged():
    talk = join(segment("de", (1.0, 0.0, 0.0)), segment("de", (1.0, 0.0, 0.0)))
    assert talk.reliable is None
    assert talk.doubt is None


def test_the_line_of_what_is_not_reliable_names_no_language():
    talk = join(segment("en", (0.0, 1.0, 0.0), doubt=1.0))
    assert transcribe._as_line(talk) == "talk.wav  unknown  a"


def test_segments_that_are_not_reliable_do_not_count_for_their_neighbours():
    talk = join(
        segment("en", (0.9, 0.1, 0.0), seconds=9, doubt=1.0),
        segment("en", (0.0, 1.0, 0.0), doubt=-1.0),
    )
    assert [part.language for part in talk.segments] == ["unknown", "en"]
