import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from avsr import face
from avsr.corpus import Record, read_manifest, read_shards, write_manifest
from avsr.corpus.prepare import MediaReader, prepare, read_failures
from avsr.errors import CorpusError, MediaError


def record(name: str, media: str, **changes: object) -> Record:
    plain = Record(
        utterance_id=name, media=media, text="a b", language="en", split="train", speaker="s"
    )
    return dataclasses.replace(plain, **changes)


@pytest.fixture(autouse=True)
def _no_detector(monkeypatch):
    """Crops without a detector: each as bright as its frame; a bright frame holds a face."""

    def track_mouth(frames):
        levels = [round(float(frame.mean())) for frame in frames]
        mouth = np.array(levels, np.uint8)[:, None, None] * np.ones((1, 96, 96), np.uint8)
        return SimpleNamespace(mouth=mouth, found=np.array([level > 60 for level in levels]))

    monkeypatch.setattr(face, "track_mouth", track_mouth)


@pytest.fixture
def clip(make_clip):
    """`clip(name, grey, ...)` writes 2 s of `grey` with a white flash and a beep at 1.0 s."""

    def make(name="a.mp4", grey=100, **options):
        picture = np.full((48, 64, 3), grey, np.uint8)
        return make_clip(name, picture=picture, **options)

    return make


def test_shards_manifest_and_failures(clip, tmp_path):
    root = clip("good.mp4").parent
    clip("dark.mp4", grey=20)
    clip("mute.mp4", audio_codec=None)
    clip("blind.mp4", video_codec=None)
    (root / "text.mp4").write_text("no video")
    names = ["good", "dark", "mute", "gone", "blind", "text"]
    records = [record(name, f"{name}.mp4") for name in names]
    reports = []
    prepared = prepare(
        [*records, record("v", "good.mp4", split="valid")],
        root,
        tmp_path / "out",
        "train",
        progress=lambda *report: reports.append(report),
    )
    assert [r.utterance_id for r in prepared.records] == ["good"]
    assert reports[-1] == ("train", 6, 6)
    reasons = {failure.utterance_id: failure.reason for failure in prepared.failures}
    assert list(reasons) == names[1:]
    assert reasons["dark"].endswith("dark.mp4: a face in 10% of the frames only")
    for name, message in [("mute", "no sound"), ("blind", "no video"), ("gone", "gone.mp4")]:
        assert message in reasons[name]
    assert read_failures(tmp_path / "out" / "train.failed.jsonl") == prepared.failures
    assert read_manifest(tmp_path / "out" / "train.jsonl") == prepared.records
    assert not (tmp_path / "out" / ".parts" / "train").exists()
    (sample,) = read_shards(tmp_path / "out", "train")
    assert sample.record == prepared.records[0]
    assert (sample.record.media, sample.record.start, sample.record.end) == (
        "train/000000.tar",
        0.0,
        2.0,
    )
    assert sample.waveform.shape == (32_000,)
    assert sample.mouth.shape == (50, 96, 96)


def test_sound_and_lips_are_cut_together(clip, tmp_path):
    path = clip()
    words = [{"word": "flash", "start": 0.195, "end": 0.4}]
    spans = [record("late", path.name, start=0.81, end=1.61, words=words)]
    spans += [record("early", path.name, start=0.4, end=1.2), record("end", path.name, start=1.6)]
    prepare(spans, path.parent, tmp_path / "out", "train")
    late, early, end = read_shards(tmp_path / "out", "train")
    for sample, frames, flash in [(late, 20, 5), (early, 20, 15), (end, 10, None)]:
        assert sample.record.end == frames / 25
        assert sample.waveform.shape == (frames * 640,)
        assert sample.mouth.shape == (frames, 96, 96)
        bright = np.flatnonzero(sample.mouth.mean(axis=(1, 2)) > 180)
        loud = np.flatnonzero(np.abs(sample.waveform) > 8000)
        if flash is None:
            assert len(bright) == len(loud) == 0
        else:
            assert bright[0] == flash
            assert loud[0] == pytest.approx(flash * 640, abs=80)
    assert late.record.words == [{"word": "flash", "start": 0.205, "end": 0.41}]


def test_spans_in_order_are_decoded_once(clip, monkeypatch):
    from avsr import media

    opened = []
    real = media.read_frames
    monkeypatch.setattr(
        media, "read_frames", lambda path, **options: opened.append(path) or real(path, **options)
    )
    reader = MediaReader(clip())
    lengths = [len(list(reader.frames(*span))) for span in [(0, 10), (10, 20), (30, 99), (5, 6)]]
    assert lengths == [10, 10, 20, 1]
    assert len(opened) == 2


def test_a_damaged_file_fails_and_says_so(clip, tmp_path):
    path = clip(options={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    prepared = prepare([record("cut", path.name)], path.parent, tmp_path / "out", "train")
    assert [failure.utterance_id for failure in prepared.failures] == ["cut"]
    assert prepared.records == []


def test_sound_only(clip, tmp_path):
    path = clip(video_codec=None, duration=1.01)
    prepared = prepare(
        [record("a", path.name)], path.parent, tmp_path / "out", "train", video=False
    )
    (sample,) = read_shards(tmp_path / "out", "train")
    assert sample.mouth is None
    assert sample.record.end == len(sample.waveform) / 16_000
    assert sample.record.end == pytest.approx(1.04, abs=0.05)
    assert prepared.failures == []


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_goes_on_after_an_interruption_with_the_same_result(clip, tmp_path):
    path = clip()
    clip("dark.mp4", grey=0)
    records = [record(f"u{n}", "dark.mp4" if n == 1 else path.name) for n in range(6)]

    def stop(part, done, total):
        if done == 5:
            raise KeyboardInterrupt

    out = tmp_path / "a"
    with pytest.raises(KeyboardInterrupt):
        prepare(records, path.parent, out, "train", shard_size=2, progress=stop)
    complete = sorted(p.name for p in (out / "train").iterdir() if p.suffix == ".tar")
    assert complete == ["000000.tar", "000001.tar"]
    first = (out / "train" / "000000.tar").stat().st_mtime_ns
    reports = []
    prepare(
        records,
        path.parent,
        out,
        "train",
        shard_size=2,
        progress=lambda *report: reports.append(report),
    )
    assert reports == [("train", done, 6) for done in (2, 4, 5, 6)]
    assert (out / "train" / "000000.tar").stat().st_mtime_ns == first
    again = prepare(records, path.parent, tmp_path / "b", "train", shard_size=2)
    assert contents(out) == contents(tmp_path / "b")
    assert prepare(records, path.parent, out, "train", shard_size=2).records == again.records


def test_workers_change_no_byte(clip, tmp_path):
    path = clip()
    records = [record(f"u{n}", path.name, start=n / 5, end=n / 5 + 0.4) for n in range(4)]
    records += [record("bad", "gone.mp4")]
    for workers in (1, 2):
        prepare(
            records,
            path.parent,
            tmp_path / str(workers),
            "train",
            video=False,
            shard_size=3,
            workers=workers,
        )
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_other_records_need_another_folder(clip, tmp_path):
    path = clip()
    records = [record("a", path.name)]
    prepare(records, path.parent, tmp_path / "out", "train")
    with pytest.raises(CorpusError, match="for another manifest"):
        prepare([*records, record("b", path.name)], path.parent, tmp_path / "out", "train")
    write_manifest(tmp_path / "out" / "valid.jsonl", [])
    with pytest.raises(CorpusError, match="another 'valid' corpus"):
        prepare([record("a", "x", split="valid")], path.parent, tmp_path / "out", "valid")


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ([], {}, "no records of the split 'train'"),
        (["a", "a"], {}, "1 utterance ids of 'train' are not unique"),
        (["a"], {"workers": 0}, "at least 1"),
    ],
)
def test_mistakes(tmp_path, names, options, message):
    with pytest.raises(CorpusError, match=message):
        prepare([record(name, "x") for name in names], tmp_path, tmp_path, "train", **options)


def test_grid_clips(grid_dir, tmp_path, monkeypatch):
    from avsr.face import track_mouth

    monkeypatch.setattr(face, "track_mouth", track_mouth)
    records = [r for r in read_manifest(grid_dir / "manifest.jsonl") if r.split == "valid"][:2]
    prepared = prepare(records, grid_dir, tmp_path, "valid")
    assert prepared.failures == []
    for sample in read_shards(tmp_path, "valid"):
        assert sample.mouth.shape == (75, 96, 96)
        assert sample.waveform.shape == (75 * 640,)
        assert [word["word"] for word in sample.record.words] == sample.record.text.split()
    assert json.loads((tmp_path / "valid.prepare.json").read_text())["records"] == 2


def test_reading_stops_at_a_warning(clip):
    path = clip(options={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError):
        list(MediaReader(path).frames(0, 1000))
