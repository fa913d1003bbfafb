"""Of several tracks the default one was read, silent or without a face, and no other."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avsr.cli.app import main
from avsr.corpus.manifest import Record
from avsr.errors import ConfigError, MediaError
from avsr.evaluation.clips import ClipReader
from avsr.face import probe_faces
from avsr.media import Caption, Tracks, burn_captions, probe, read_frames, read_waveform
from avsr.recognition.options import TranscribeOptions

EXAMPLES = Path(__file__).parents[2] / "demo/examples"
RATE = 16_000
NUM_FRAMES = 25
SILENCE = np.zeros(RATE, np.float32)


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    return read_waveform(EXAMPLES / "de.mp4")[:RATE]


@pytest.fixture(scope="module")
def camera() -> list[np.ndarray]:
    frames = read_frames(EXAMPLES / "de.mp4")
    return [next(frames) for _ in range(NUM_FRAMES)]


@pytest.fixture(scope="module")
def screen() -> list[np.ndarray]:
    """A shared screen, larger than the camera: the best track by FFmpeg's measure."""
    return [np.full((720, 1280, 3), 250, np.uint8)] * NUM_FRAMES


def write_tracks(path: Path, pictures: list[list[np.ndarray]], sounds: list[np.ndarray]) -> Path:
    """A file of a second with a video track of each list of frames and a sound track of each
    waveform."""
    with av.open(str(path), "w") as container:
        videos = []
        for frames in pictures:
            video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
            video.height, video.width, video.pix_fmt = *frames[0].shape[:2], "yuv420p"
            videos.append(video)
        audios = [container.add_stream("flac", rate=RATE, layout="mono") for _ in sounds]
        for video, frames in zip(videos, pictures, strict=True):
            for frame in frames:
                container.mux(video.encode(av.VideoFrame.from_ndarray(frame)))
            container.mux(video.encode(None))
        for audio, sound in zip(audios, sounds, strict=True):
            samples = np.rint(sound[None] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


@pytest.fixture(scope="module")
def meeting(tmp_path_factory, camera, screen, voice) -> Path:
    """Screen and camera; a silent track, one with an offset only, and the voice."""
    path = tmp_path_factory.mktemp("meeting") / "meeting.mkv"
    return write_tracks(path, [screen, camera], [SILENCE, SILENCE + 0.2, voice])


def test_a_silent_track_gives_way(meeting, voice) -> None:
    info = probe(meeting)
    assert (info.sound_tracks, info.tracks.audio, info.silent_track) == (3, 3, 1)
    warnings: list[str] = []
    assert np.abs(read_waveform(meeting, warn=warnings.append) - voice).max() < 1e-3
    assert warnings == [f"{meeting}: sound track 1 is silent, so 3 is read"]
    sound = ClipReader(meeting.parent).sound(
        Record(
            utterance_id="u",
            media=meeting.name,
            language="de",
            text="",
            split="test",
            speaker="s",
        )
    )
    assert sound is not None
    assert np.abs(sound - voice).max() < 1e-3


def test_the_first_of_two_with_sound_is_read(tmp_path, voice) -> None:
    path = write_tracks(tmp_path / "two.mka", [], [voice, 0.5 * voice])
    info = probe(path)
    assert (info.tracks.audio, info.silent_track) == (1, None)
    assert np.abs(read_waveform(path) - voice).max() < 1e-3


def test_a_track_that_is_asked_for_is_read_as_it_is(meeting, voice) -> None:
    assert not read_waveform(meeting, tracks=Tracks(audio=1)).any()
    assert probe(meeting, Tracks(audio=1)).tracks == Tracks(audio=1, video=1)
    small = next(read_frames(meeting, tracks=Tracks(video=2)))
    large = next(read_frames(meeting, tracks=Tracks(video=1)))
    assert small.shape != large.shape == (720, 1280, 3)


def test_a_face_is_taken_before_none(meeting) -> None:
    assert probe_faces(meeting).tracks == Tracks(audio=3, video=2)
    assert probe_faces(meeting, Tracks(video=1)).tracks == Tracks(audio=3, video=1)


def test_where_no_track_has_a_face_the_main_one_stays(tmp_path, screen, voice) -> None:
    small = [frame[:240, :320] for frame in screen]
    path = write_tracks(tmp_path / "two.mkv", [small, screen], [voice])
    assert probe_faces(path).tracks.video == probe(path).tracks.video


def test_the_transcript_tells_which_tracks_are_read(model, meeting) -> None:
    result = model.transcribe(meeting, beam_size=1)
    assert result.modality == "av"
    notes = (
        "of 3 sound tracks, 3 is read, as 1 is silent; --audio-track chooses another",
        "of 2 video tracks, 2 is read; --video-track chooses another",
    )
    assert set(notes) <= set(result.warnings)
    chosen = model.transcribe(meeting, beam_size=1, audio_track=3, video_track=2)
    assert not any("tracks" in warning for warning in chosen.warnings)
    assert (chosen.text, chosen.modality) == (result.text, "av")


def test_the_copy_with_subtitles_has_the_tracks(meeting, camera, voice, tmp_path) -> None:
    out = tmp_path / "out.mp4"
    captions = [Caption(0.1, 0.5, ("word",))]
    burn_captions(meeting, out, captions, tracks=probe_faces(meeting).tracks)
    assert next(read_frames(out)).shape == camera[0].shape
    heard = read_waveform(out)[:RATE]
    assert np.corrcoef(heard, voice[: len(heard)])[0, 1] > 0.95


@pytest.mark.parametrize("command", [["transcribe"], ["crop", "-o", "crops"]])
@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (["--audio-track", "4"], "there is no sound track 4: they are 1 to 3"),
        (["--video-track", "3"], "there is no video track 3: they are 1 to 2"),
    ],
)
def test_a_track_that_is_not_there_is_one_line(
    meeting, tmp_path, monkeypatch, capsys, command, option, reason
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*command, str(meeting), *option]) == 2
    assert capsys.readouterr().err == f"avsr: {meeting}: {reason}\n"


def test_numbers_begin_with_one(tmp_path, voice) -> None:
    path = write_tracks(tmp_path / "one.mka", [], [voice])
    with pytest.raises(MediaError, match="no sound track 2: the only one is 1"):
        probe(path, Tracks(audio=2))
    with pytest.raises(MediaError, match="no video track 1: the file has none"):
        probe(path, Tracks(video=1))
    for number in (0, -1, True, "1"):
        with pytest.raises(ConfigError, match=r"must be a number from 1 on|not a whole number"):
            TranscribeOptions(audio_track=number)  # type: ignore[arg-type]


def test_files_that_failed(model, faults_dir) -> None:
    sound = model.transcribe(faults_dir / "silent_first.mka")
    assert sound.text == "bin blue at f four please"
    assert any("2 is read, as 1 is silent" in warning for warning in sound.warnings)
    meeting = model.transcribe(faults_dir / "tv_screen_default.mp4")
    assert meeting.modality == "av"
    assert any("of 2 video tracks, 2 is read" in warning for warning in meeting.warnings)
