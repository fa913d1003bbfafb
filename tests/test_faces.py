"""Two people in one picture: whose lips are read, and what each of them says, with real clips."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from avsr import media
from avsr.audio import vowel_level
from avsr.cli import app as cli
from avsr.cli import transcribe
from avsr.errors import ConfigError, MediaError
from avsr.face import FaceRegistry, choose_face, track_faces
from avsr.inspection import crops as cropping
from avsr.rates import SAMPLES_PER_FRAME
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.reading import read_recording
from avsr.transcript import FORMATS, write_transcript

EXAMPLES = Path(__file__).parents[1] / "demo/examples"
PAUSE = 20  # frames between the two, and at the end


@pytest.fixture(scope="module")
def clips():
    """Frames and sound of a German (left) and an Italian (right) example."""
    examples = []
    for code in ("de", "it"):
        frames = list(media.read_frames(EXAMPLES / f"{code}.mp4"))
        sound = media.read_waveform(EXAMPLES / f"{code}.mp4")[: len(frames) * SAMPLES_PER_FRAME]
        examples.append((frames, np.pad(sound, (0, len(frames) * SAMPLES_PER_FRAME - len(sound)))))
    return examples


@pytest.fixture(scope="module")
def talk(clips, tmp_path_factory):
    """First the left one speaks, then the right one; who does not speak rests. And the change."""
    path = tmp_path_factory.mktemp("talk") / "talk.mp4"
    (german, first), (italian, second) = clips
    pause = np.zeros(PAUSE * SAMPLES_PER_FRAME, np.float32)
    left = german + german[-1:] * (2 * PAUSE + len(italian))
    right = italian[:1] * (len(german) + PAUSE) + italian + italian[-1:] * PAUSE
    pictures = [np.hstack(both) for both in zip(left, right, strict=True)]
    sound = np.concatenate([first, pause, second, pause])
    media.write_video(path, pictures, waveform=sound, crf=18)
    return path, len(german) / 25


@pytest.fixture(scope="module")
def dubbed(clips, tmp_path_factory):
    """Both mouths move, the right one is heard; between them is a larger face that is a picture."""
    path = tmp_path_factory.mktemp("dubbed") / "dubbed.mp4"
    (german, _), (italian, sound) = clips
    german = (german * 2)[: len(italian)]
    portrait = cv2.resize(skimage.data.astronaut()[30:210, 90:270], (320, 320))
    pictures = [np.hstack(three) for three in zip(german, [portrait] * 99, italian, strict=False)]
    media.write_video(path, pictures, waveform=sound, crf=18)
    return path


def test_the_one_who_speaks_is_read_and_that_may_change(talk) -> None:
    path, change = talk
    recording = read_recording(path)
    first, second = recording.faces()
    assert (first.face, second.face) == (1, 2)
    assert first.end == second.start == pytest.approx(change, abs=0.8)
    assert first.num_found == first.num_frames > 20
    assert recording.warnings == ("of 2 faces, 1 and 2 are read in turn; --face chooses one",)


def test_of_moving_mouths_the_one_that_is_heard_is_read(dubbed) -> None:
    faces = FaceRegistry().number(track_faces(media.read_frames(dubbed)))
    level = vowel_level(media.read_waveform(dubbed))
    for choice, face in [("auto", 3), ("left", 1), ("largest", 2), ("right", 3), ("2", 2)]:
        assert choose_face(faces, choice, level).faces == (face,), choice


def test_crop_has_the_numbers_of_a_transcription(model, clips, tmp_path, monkeypatch) -> None:
    """Of a long recording, with a face that comes only where nothing is said."""
    path = tmp_path / "talk.mp4"
    (german, first), (italian, second) = clips
    empty, length = np.full_like(german[0], 90), 2 * PAUSE
    portrait = cv2.resize(skimage.data.astronaut()[30:210, 90:270], (320, 320))
    left = german + [portrait] * length + [empty] * (len(italian) + PAUSE)
    right = [empty] * (len(german) + length) + italian + italian[-1:] * PAUSE
    pictures = [np.hstack(both) for both in zip(left, right, strict=True)]
    silence = [np.zeros(n * SAMPLES_PER_FRAME, np.float32) for n in (length, PAUSE)]
    sound = np.concatenate([first, silence[0], second, silence[1]])
    media.write_video(path, pictures, waveform=sound, crf=18)
    monkeypatch.setattr("avsr.recognition.segmentation.is_one_segment", lambda *_: False)
    monkeypatch.setattr("avsr.recognition.pipeline.is_one_segment", lambda *_: False)
    segments = model.transcribe(path, beam_size=1).segments
    assert [part.face for part in segments] == [1, 2]
    monkeypatch.setattr(cropping, "MAX_SEGMENT_SECONDS", 1.0)
    report = cropping.crop_video(path, tmp_path / "talk", warn=print)
    assert report.num_frames == len(pictures)
    rows = json.loads((tmp_path / "talk.json").read_text("utf-8"))["frames"]
    for part in segments:
        assert rows[round(25 * (part.start + part.end) / 2)]["face"] == part.face
    between = rows[len(german) + PAUSE]
    assert between["found"]
    assert between["face"] is None


def test_face_that_is_not_there_is_one_line() -> None:
    with pytest.raises(MediaError, match="there is no face 2: the only face is 1"):
        read_recording(EXAMPLES / "de.mp4", choice="2")


def test_every_face_says_its_own_words_in_every_format(model, talk, tmp_path) -> None:
    path, change = talk
    alone = [model.transcribe(EXAMPLES / f"{code}.mp4").text for code in ("de", "it")]
    result = model.transcribe(path, face="all")
    first, second = result.segments
    assert [part.face for part in result.segments] == [1, 2]
    assert [part.speaker for part in result.segments] == ["Face 1", "Face 2"]
    assert [part.language for part in result.segments] == ["de", "it"]
    assert first.end - 0.8 < change < second.start + 0.8
    assert [part.modality for part in result.segments] == ["av", "av"]
    for part, text in zip(result.segments, alone, strict=True):
        assert len(set(part.text.split()) & set(text.split())) >= len(set(text.split())) / 2
    out = tmp_path / "talk"
    for ending in FORMATS:
        write_transcript(f"{out}.{ending}", result, ending)
        assert f"Face 2: {second.text.split()[0]}" in Path(f"{out}.{ending}").read_text("utf-8")
    assert out.with_suffix(".txt").read_text("utf-8") == (
        f"Face 1: {first.text}\nFace 2: {second.text}\n"
    )
    assert f"Face 1: {first.text} | Face 2: {second.text}" in transcribe._as_line(result)
    content = json.loads(out.with_suffix(".json").read_text("utf-8"))
    row = content["segments"][1]
    assert (row["face"], row["speaker"], row["modality"]) == (2, "Face 2", "av")
    assert row["faces"][0]["frames"] >= row["faces"][0]["found"] > 20


def test_wrong_faces_are_one_line(talk, capsys) -> None:
    path = str(talk[0])
    for arguments, complaint in [
        (("--face", "middle"), "face 'middle' must be one of"),
        (("--face", "0"), "a number from 1 on"),
        (("--face", "left", "--modality", "audio"), "only the sound is transcribed"),
        (("--face", "left", "--all-faces"), "--all-faces cannot be combined with"),
    ]:
        assert cli.main(["transcribe", path, *arguments]) == 2
        assert complaint in capsys.readouterr().err
    assert cli.main(["crop", path, "-o", "out", "--face", "all"]) == 2
    assert "one face at a time" in capsys.readouterr().err
    with pytest.raises(ConfigError):
        TranscribeOptions(face="nobody")
