"""``avsr crop``: its four files, its numbers, what is refused, and what is left of a failure."""

import json
import os
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image

from avsr.cli import app as cli
from avsr.errors import MediaError
from avsr.face import track_faces, track_mouth
from avsr.inspection import crops as cropping
from avsr.inspection.overlay import PANEL
from avsr.media import Picture, read_frames, write_video
from avsr.recognition import spans

Run = Callable[..., SimpleNamespace]
PORTRAIT = cv2.resize(skimage.data.astronaut()[:320, 60:380], (480, 480))
EMPTY = cv2.resize(skimage.data.coffee(), (480, 480))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> SimpleNamespace:
        status = cli.main(["crop", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return SimpleNamespace(status=status, out=out, err=err)

    return call


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """Three frames without a face, then twelve with it, a little lower each time."""
    path = tmp_path / "talk.mp4"
    faces = [np.roll(PORTRAIT, i, axis=0) for i in range(12)]
    write_video(path, [*[EMPTY] * 3, *faces], crf=10)
    return path


def test_four_files_and_a_line(run: Run, talk: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    got = run(talk, "-o", out)
    assert (got.status, got.err) == (0, "")
    assert got.out == (
        f"{out / 'talk.sheet.png'}  15 frames, face seen in 80.0 %, 1 track,"
        " 3 doubtful (3 no face)\n"
    )
    names = ["talk.json", "talk.mouth.mp4", "talk.overlay.mp4", "talk.sheet.png"]
    assert sorted(os.listdir(out)) == names
    track = track_mouth(read_frames(talk))
    mouth = np.stack(list(read_frames(out / "talk.mouth.mp4")))
    assert mouth.shape == (15, 96, 96, 3)
    assert np.abs(mouth[..., 0].astype(int) - track.mouth).mean() < 3
    overlay = list(read_frames(out / "talk.overlay.mp4"))
    assert len(overlay) == 15
    assert overlay[0].shape == (480, 480 + PANEL, 3)
    with Image.open(out / "talk.sheet.png") as image:
        assert image.format == "PNG"


def test_json_has_a_row_per_frame_and_a_summary(run: Run, talk: Path, tmp_path: Path) -> None:
    run(talk, "-o", tmp_path)
    text = (tmp_path / "talk.json").read_text("utf-8")
    content = json.loads(text)
    assert {key: content[key] for key in ("file", "fps", "width", "height")} == {
        "file": str(talk),
        "fps": 25,
        "width": 480,
        "height": 480,
    }
    rows = content["frames"]
    assert [row["frame"] for row in rows] == list(range(15))
    assert [row["time"] for row in rows] == [pytest.approx(k / 25) for k in range(15)]
    assert [row["found"] for row in rows] == [False] * 3 + [True] * 12
    assert [row["track"] for row in rows] == [None] * 3 + [0] * 12
    assert rows[0] == {
        "frame": 0,
        "time": 0.0,
        "found": False,
        "track": None,
        "box": None,
        "scale": None,
        "angle": None,
        "blur": None,
        "turn": None,
        "problems": ["no face"],
        "face": None,
        "others": {},
    }
    tops = [row["box"][1] for row in rows[3:]]
    np.testing.assert_allclose(np.diff(tops).mean(), 1, atol=0.2)  # px a frame, as planted
    assert content["summary"] == {
        "num_frames": 15,
        "found": 0.8,
        "num_tracks": 1,
        "num_doubtful": 3,
        "problems": {
            "no face": 3,
            "not seen": 0,
            "small": 0,
            "tilted": 0,
            "turned": 0,
            "covered": 0,
            "blurred": 0,
        },
    }
    assert sum(line.startswith('{"frame"') for line in text.splitlines()) == 15


def test_parts_are_one_recording(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A face that stays keeps its number from part to part; another one gets its mouth_video."""
    monkeypatch.setattr(cropping, "MAX_SEGMENT_SECONDS", 1.0)
    monkeypatch.setattr(spans, "EVEN_SECONDS", 0.4)
    stays = [PORTRAIT] * 15
    goes = [EMPTY] * 11
    small = EMPTY.copy()
    small[20:200, 20:200] = cv2.resize(PORTRAIT, (180, 180), interpolation=cv2.INTER_AREA)
    path = tmp_path / "long.mp4"
    write_video(path, [*stays, *goes, *[small] * 14], crf=10)
    lengths: list[int] = []

    def count(frames: object) -> object:
        faces = track_faces(frames)  # type: ignore[arg-type]
        lengths.append(faces.num_frames)
        return faces

    monkeypatch.setattr(cropping, "track_faces", count)
    assert run(path, "-o", tmp_path).status == 0
    assert max(lengths) <= 11
    assert sum(lengths) == 40
    rows = json.loads((tmp_path / "long.json").read_text("utf-8"))["frames"]
    assert [row["frame"] for row in rows] == list(range(40))
    tracks = [row["track"] for row in rows]
    assert tracks[:15] == [0] * 15
    assert set(tracks[28:]) == {1}
    assert len(list(read_frames(tmp_path / "long.overlay.mp4"))) == 40
    assert len(list(read_frames(tmp_path / "long.mouth.mp4"))) == 40


def test_frames_are_not_kept(
    run: Run, talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[weakref.ref] = []
    peak = 0

    def copies(path: Path, **options: object) -> Iterator[np.ndarray]:
        nonlocal peak
        for _ in range(4):
            for frame in read_frames(path):
                copy = frame.copy()
                alive.append(weakref.ref(copy))
                peak = max(peak, sum(ref() is not None for ref in alive))
                yield copy
                del copy

    def pictures(path: Path, **options: object) -> Iterator[Picture]:
        return map(Picture, copies(path))

    monkeypatch.setattr(cropping.media, "read_frames", copies)
    monkeypatch.setattr(cropping.media, "read_pictures", pictures)
    monkeypatch.setattr(cropping, "PART_FRAMES", 15)
    assert run(talk, "-o", tmp_path).status == 0
    assert len(alive) == 2 * 60
    assert peak <= 5


def test_no_face_at_all_is_shown_too(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    write_video(path, [EMPTY] * 3)
    got = run(path, "-o", tmp_path)
    assert (got.status, got.err) == (0, f"avsr: {path}: warning: no face was found\n")
    assert "face seen in 0.0 %, 0 tracks, 3 doubtful (3 no face)" in got.out


def test_bad_files_fail_alone(
    run: Run, talk: Path, tmp_path: Path, make_clip: Callable[..., Path]
) -> None:
    text = tmp_path / "letter.mp4"
    text.write_text("Dear reader")
    sound = make_clip("sound.mka", video_codec=None)
    missing = tmp_path / "missing.mp4"
    listed = tmp_path / "list.txt"
    listed.write_text(f"{sound}\n{missing}\n")
    out = tmp_path / "out"
    got = run(text, f"@{listed}", talk, "-o", out)
    assert got.status == 1
    *complaints, summary = got.err.splitlines()
    assert summary == "avsr: 1 done, 0 skipped, 3 failed"
    assert [line.split(":")[1].strip() for line in complaints] == [
        str(text),
        str(sound),
        str(missing),
    ]
    assert f"{sound}: has no video" in got.err
    assert len(os.listdir(out)) == 4
    assert got.out.count("\n") == 1


def test_nothing_is_left_of_a_crop_that_fails_or_is_stopped(
    run: Run, talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    for error, status in [(KeyboardInterrupt(), 130), (ValueError("a bug"), 1)]:

        def fail(*arguments: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(cropping, "draw_overlay", fail)
        assert run(talk, "-o", out).status == status
        assert os.listdir(out) == []


def test_what_is_cropped_is_skipped_unless_a_file_is_missing(
    run: Run, talk: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(talk, "-o", out)
    skipped = run(tmp_path, "-o", out)  # the folder has the crops' mouth_video videos in it, too
    assert (skipped.status, skipped.out) == (0, "")
    there = f"avsr: {talk}: skipped, {out / 'talk.json'} is there already\n"
    summary = "avsr: 0 done, 1 skipped (--overwrite does them again), 0 failed\n"
    assert skipped.err == there + summary
    assert "15 frames" in run(talk, "-o", out, "--overwrite").out
    (out / "talk.sheet.png").unlink()
    assert "15 frames" in run(talk, "-o", out).out
    assert (out / "talk.sheet.png").exists()


def test_a_file_that_cannot_be_written_is_named(talk: Path, tmp_path: Path) -> None:
    for ending in cropping.ENDINGS:
        out = tmp_path / ending[1:]
        (out / f"talk{ending}").mkdir(parents=True)  # in the way
        with pytest.raises(MediaError, match="cannot be written") as caught:
            cropping.crop_video(talk, out / "talk", warn=print)
        assert str(out / f"talk{ending}") in str(caught.value)
        assert not [name for name in os.listdir(out) if name.startswith(".")]


def test_wrong_use_is_one_line(run: Run, talk: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("a file")
    (tmp_path / "b").mkdir()
    other = tmp_path / "b" / "talk.mkv"
    other.write_bytes(talk.read_bytes())
    (tmp_path / "out" / "talk.json").mkdir(parents=True)
    mouth_video = tmp_path / "talk.mouth.mp4"
    mouth_video.write_bytes(talk.read_bytes())
    for arguments, complaint in [
        ((talk,), "-o"),
        (("-o", tmp_path), "VIDEO"),
        ((talk, "-o", tmp_path / "plain"), "is not a folder"),
        ((talk, other, "-o", tmp_path / "c"), "would both be written to"),
        ((talk, "-o", tmp_path / "out"), "is a folder"),
        ((talk, mouth_video, "-o", tmp_path), "is the video itself"),
    ]:
        got = run(*arguments)
        assert got.status == 2, arguments
        assert got.err.count("\n") == 1
        assert complaint in got.err
        assert got.out == ""
