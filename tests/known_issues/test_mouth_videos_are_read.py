"""Mouth crops that somebody made before were refused, though they are what the model takes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from avsr import media
from avsr.cli import app as cli
from avsr.corpus import Record, read_manifest, read_shards, write_manifest
from avsr.corpus.prepare import prepare
from avsr.errors import ConfigError, MediaError
from avsr.evaluation.clips import ClipReader
from avsr.inspection.crops import crop_video
from avsr.recognition.options import TranscribeOptions

EXAMPLES = Path(__file__).parents[2] / "demo/examples"
CODES = ("en", "de")


@pytest.fixture(scope="module")
def mouths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The mouth videos that ``avsr crop`` writes of examples, and with the sound to them."""
    folder = tmp_path_factory.mktemp("mouths")
    paths = {}
    for code in CODES:
        crop_video(EXAMPLES / f"{code}.mp4", folder / code, warn=print)
        paths[code] = folder / f"{code}.mp4"
        frames = [frame[..., 0] for frame in media.read_frames(folder / f"{code}.mouth.mp4")]
        sound = media.read_waveform(EXAMPLES / f"{code}.mp4")
        media.write_video(paths[code], frames, waveform=sound, crf=4)
    return paths


@pytest.mark.parametrize("modality", ["av", "video"])
@pytest.mark.parametrize("code", CODES)
def test_a_mouth_video_gives_the_text_of_its_own_crop(model, mouths, code, modality) -> None:
    whole = model.transcribe(EXAMPLES / f"{code}.mp4", modality=modality)
    result = model.transcribe(mouths[code], modality=modality, mouth=True)
    assert (result.text, result.language) == (whole.text, whole.language)
    assert result.modality == whole.modality == modality
    assert result.warnings == ()
    assert np.abs(result.mouth.mouth.astype(int) - whole.mouth.mouth).mean() < 3


def test_a_long_mouth_video_is_cut_as_any_recording(model, mouths, monkeypatch) -> None:
    short = dataclasses.replace(model.network.config, segment_seconds=1.0)
    monkeypatch.setattr(model.network, "config", short)
    whole = model.transcribe(EXAMPLES / "de.mp4", beam_size=1)
    result = model.transcribe(mouths["de"], mouth=True, beam_size=1)
    assert len(result.segments) == len(whole.segments) > 1
    assert [s.modality for s in result.segments] == [s.modality for s in whole.segments]
    assert result.text == whole.text


def test_other_videos_are_one_line_before_any_work(mouths, tmp_path, capsys) -> None:
    wide = tmp_path / "wide.mp4"
    media.write_video(wide, [np.zeros((240, 320, 3), np.uint8)] * 3)
    assert cli.main(["transcribe", str(mouths["de"]), str(wide), "--mouth"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"avsr: {wide}: is no mouth video: it is 320x240; a mouth video is square, with sides of "
        "88 to 128 px\n"
    )
    with pytest.raises(ConfigError, match="a face cannot be chosen in a mouth video"):
        TranscribeOptions(face="left", mouth=True)


def test_without_the_option_the_reason_names_it(model, tmp_path) -> None:
    path = tmp_path / "plain.mp4"
    media.write_video(path, [np.full((96, 96, 3), 90, np.uint8)] * 25)
    with pytest.raises(MediaError, match=r"may be a ready-made mouth video; --mouth .* no face"):
        model.transcribe(path)
    media.write_video(path, [np.full((96, 160, 3), 90, np.uint8)] * 25)
    with pytest.raises(MediaError, match=r"transcribe: .*no face was found in any frame$"):
        model.transcribe(path)


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_manifest_names_its_mouth_videos(mouths, tmp_path, suffix) -> None:
    plain = Record(
        utterance_id="a",
        media=str(mouths["de"]),
        text="a b",
        language="de",
        split="train",
        speaker="s",
    )
    record = dataclasses.replace(plain, mouth=True)
    write_manifest(tmp_path / f"m.{suffix}", [record, dataclasses.replace(plain, utterance_id="b")])
    first, second = read_manifest(tmp_path / f"m.{suffix}")
    assert (first.mouth, second.mouth) == (True, False)
    assert '"mouth":' not in plain.to_json()


def test_evaluation_and_preparation_read_them(mouths, tmp_path) -> None:
    record = Record(
        utterance_id="a",
        media=mouths["de"].name,
        start=0.4,
        end=1.2,
        text="a b",
        language="de",
        split="train",
        speaker="s",
        mouth=True,
    )
    crops = [frame[..., 0] for frame in media.read_frames(mouths["de"])][10:30]
    lips = ClipReader(mouths["de"].parent).lips(record)
    np.testing.assert_allclose(lips.mouth, crops, atol=1)
    assert lips.readable.all()
    prepared = prepare([record], mouths["de"].parent, tmp_path / "out", "train")
    assert prepared.failures == []
    (sample,) = read_shards(tmp_path / "out", "train")
    assert np.abs(sample.mouth.astype(int) - crops).mean() < 3
    assert not sample.record.mouth
