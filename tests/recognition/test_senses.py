"""The check: lips that contradict clear sound are not read, and the transcript says so."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avsr.hub import load_network
from avsr.model.sense_rule import SenseRule, SenseWeights
from avsr.recognition import senses as senses_module
from avsr.recognition.encoding import encode, join_encodings
from avsr.recognition.inference import decode, recognize, recognize_scored
from avsr.recognition.lip_sync import Synchronizer
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.pipeline import transcribe_batch, transcribe_recording
from avsr.recognition.reading import read_recording
from avsr.recognition.segmentation import MediaSegment
from avsr.recognition.senses import (
    CONTRADICT,
    UNCLEAR_LIPS,
    encode_checked,
    encode_senses,
    letter_statistics,
    score_tokens,
)

EXAMPLES = [Path(__file__).parents[2] / f"demo/examples/{code}.mp4" for code in ("de", "es")]
CHECKED, PLAIN = TranscribeOptions(), TranscribeOptions(check=False)
NEVER = {"bias": -1.0}
ALWAYS = {"bias": 1.0}


def plan(audio, video):
    """A rule that does the same whatever the statistics say."""
    weights = SenseWeights(audio=audio, video=video)
    return SenseRule(letters=weights, scores=weights, report={})


@pytest.fixture(scope="module")
def model():
    return load_network(device="cpu")


@pytest.fixture(scope="module")
def recordings():
    """Own sound and own lips."""
    return [replace(read_recording(path), warnings=()) for path in EXAMPLES]


@pytest.fixture(scope="module")
def wrong(recordings):
    """Own sound, and the lips of another talk."""
    return [
        replace(one, mouth=other.mouth[np.minimum(np.arange(len(one.mouth)), len(other.mouth) - 1)])
        for one, other in zip(recordings, recordings[::-1], strict=True)
    ]


@pytest.fixture
def spied(model, monkeypatch):
    """Frames that the visual front end took, and encodings by their modality."""
    calls = {"frames": 0, "encoded": []}
    frontend, encoded = model.encoder.frontend.forward, model.encode

    def look(mouth, padding_mask=None):
        calls["frames"] += mouth.shape[0] * mouth.shape[1]
        return frontend(mouth, padding_mask)

    def work(fbank, mouth, padding_mask=None, *, visual=None):
        senses = ("a" * (fbank is not None)) + ("v" * (mouth is not None or visual is not None))
        calls["encoded"].append(senses)
        return encoded(fbank, mouth, padding_mask, visual=visual)

    monkeypatch.setattr(model.encoder.frontend, "forward", look)
    monkeypatch.setattr(model, "encode", work)
    return calls


def test_right_lips_are_read_and_nothing_is_said(model, recordings):
    for plain, checked in zip(
        recognize(model, recordings, PLAIN), recognize(model, recordings, CHECKED), strict=True
    ):
        assert (checked.text, checked.modality) == (plain.text, "av")
        assert (checked.modality_reason, checked.warnings) == ("", ())


def test_lips_that_contradict_clear_sound_are_not_read(model, wrong):
    sound = recognize(model, [replace(one, mouth=None) for one in wrong], PLAIN)
    checked = recognize(model, wrong, CHECKED)
    for heard, result in zip(sound, checked, strict=True):
        assert (result.text, result.language) == (heard.text, heard.language)
        assert (result.modality, result.modality_reason) == ("audio", CONTRADICT)
        assert result.warnings == (f"transcribed from the sound alone: {CONTRADICT}",)
        assert result.to_dict()["modality_reason"] == CONTRADICT
    for plain in recognize(model, wrong, PLAIN):
        assert (plain.modality, plain.modality_reason, plain.warnings) == ("av", "", ())


def test_the_front_end_runs_once_and_sync_shares_the_encodings(model, recordings, spied):
    (recording, *_) = recordings
    aligned = Synchronizer(model, check=True).align(recording)
    assert sorted(spied["encoded"]) == ["a", "v"]
    transcribe_batch(model, [MediaSegment(0.0, 3.0, aligned, whole=True)], CHECKED)
    assert sorted(spied["encoded"]) == ["a", "av", "v"]
    assert spied["frames"] == len(recording.mouth)


def test_without_the_check_nothing_else_is_encoded(model, recordings, spied):
    recognize(model, recordings, PLAIN)
    assert spied["encoded"] == ["av"]
    recognize(model, [replace(r, mouth=None) for r in recordings], CHECKED)
    assert spied["encoded"] == ["av", "a"]


@pytest.mark.parametrize("late", [0, 3])
def test_the_delay_is_that_of_a_plain_synchronizer(model, recordings, late):
    for recording in recordings:
        frames = np.maximum(np.arange(len(recording.mouth)) - late, 0)
        behind = replace(recording, mouth=recording.mouth[frames])
        plain, shared = Synchronizer(model), Synchronizer(model, check=True)
        visual = plain.align(behind).visual
        aligned = shared.align(behind)
        assert shared.delay == plain.delay
        assert torch.equal(aligned.visual, visual)
        both = encode(model, [aligned])
        assert letter_statistics(aligned.senses, both, 0)["agreement"] > 0.1


def test_parts_are_counted_in_one_warning(model, recordings, wrong, monkeypatch):
    monkeypatch.setattr(type(model.config), "segment_seconds", 2.0, raising=False)
    parts = [wrong[0], recordings[1], wrong[0]]
    pause = np.zeros(16_000, np.float32)
    whole = replace(
        wrong[0],
        waveform=np.concatenate([piece for p in parts for piece in (p.waveform, pause)]),
        mouth=np.concatenate(
            [piece for p in parts for piece in (p.mouth, p.mouth[-1:].repeat(25, 0))]
        ),
        track=None,
    )
    result = transcribe_recording(model, whole, replace(CHECKED, sync=False))
    used = [segment.modality for segment in result.segments]
    count = used.count("audio")
    assert {"av", "audio"} == set(used)
    assert result.modality == "av"
    (warning,) = [warning for warning in result.warnings if "parts were transcribed" in warning]
    assert warning.startswith(f"{count} of {len(used)} parts were transcribed from one of sound")
    assert [s.modality_reason != "" for s in result.segments] == [m == "audio" for m in used]


def test_a_batch_of_chosen_encodings_gives_what_each_gives_alone(model, recordings):
    alone = [
        encode(model, [recordings[0]]),
        encode(model, [replace(recordings[1], mouth=None)]),
        encode(model, [replace(recordings[0], waveform=None)]),
    ]
    together = join_encodings(model, [(encoded, 0) for encoded in alone])
    languages = together.language_probs.argmax(-1)
    for row, encoded in enumerate(alone):
        assert int(encoded.language_probs.argmax()) == int(languages[row])
        (best,) = decode(model, encoded, languages[row : row + 1], PLAIN)
        assert decode(model, together, languages, PLAIN)[row].tokens == best.tokens
    among = join_encodings(model, [(encoded, 0) for encoded in alone], "en,de")
    expected = encode(model, [recordings[0]], "en,de").language_probs
    torch.testing.assert_close(among.language_probs[:1], expected, atol=1e-5, rtol=0)


def test_tokens_are_scored_as_the_search_scores_them(model, recordings, monkeypatch):
    encoded = encode(model, recordings)
    languages = encoded.language_probs.argmax(-1)
    hypotheses = decode(model, encoded, languages, PLAIN)
    expected = [h.attention_score / len(h.token_scores) for h in hypotheses]
    scores = score_tokens(model, encoded, hypotheses, languages)
    np.testing.assert_allclose(scores.numpy(), expected, atol=1e-3)
    monkeypatch.setattr(senses_module, "AttentionDecoder", ())  # as of a decoder in ONNX
    scores = score_tokens(model, encoded, hypotheses, languages)
    np.testing.assert_allclose(scores.numpy(), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("audio", "video", "modality"),
    [(ALWAYS, NEVER, "audio"), (NEVER, ALWAYS, "video")],
)
def test_a_model_without_ctc_decides_after_the_search(
    model, recordings, wrong, monkeypatch, audio, video, modality
):
    parts = ("encoder", "classifier", "decoder")
    monkeypatch.setattr(model, "config", replace(model.config, parts=parts))
    monkeypatch.setattr(model, "reliability", None)
    monkeypatch.setattr(senses_module, "bundled_rule", lambda: plan(audio, video))
    options = replace(CHECKED, language="de", beam_size=2)
    plain = replace(options, check=False)
    used = []
    for recording in (recordings[0], wrong[0]):
        drop = {"audio": {"mouth": None}, "video": {"waveform": None}}[modality]
        (expected,) = recognize_scored(model, [recording], plain)
        (alone,) = recognize_scored(model, [replace(recording, **drop)], plain)
        if alone[1] > expected[1]:  # the likelier text under its own encoding
            expected = alone
        (result,) = recognize(model, [recording], options)
        assert (result.modality, result.text) == (expected[0].modality, expected[0].text)
        used.append(result.modality)
    if modality == "audio":
        assert used == ["av", "audio"]


def test_a_model_without_a_rule_takes_the_bundled_one(model, wrong, monkeypatch):
    monkeypatch.setattr(model, "reliability", None)
    assert recognize(model, wrong[:1], CHECKED)[0].modality == "audio"
    monkeypatch.setattr(senses_module, "bundled_rule", lambda: None)
    assert recognize(model, wrong[:1], CHECKED)[0].modality == "av"


def test_unclear_lips_and_unclear_sound_have_reasons(model, recordings, monkeypatch):
    monkeypatch.setattr(model, "reliability", None)
    for rule, reason in ((plan(ALWAYS, NEVER), UNCLEAR_LIPS), (plan(NEVER, ALWAYS), None)):
        monkeypatch.setattr(senses_module, "bundled_rule", lambda rule=rule: rule)
        chosen, encoded = encode_checked(model, recordings, CHECKED)
        modality = "audio" if reason else "video"
        assert {recording.modality for recording in chosen} == {modality}
        assert {recording.reason for recording in chosen} == {reason or senses_module.UNCLEAR_SOUND}
        assert encoded.lengths.tolist() == [recording.num_frames for recording in chosen]


def test_what_is_there_already_is_kept(model, recordings):
    once = encode_senses(model, recordings[0])
    assert encode_senses(model, once).senses is once.senses
