import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avsr.corpus import read_manifest, read_shards
from avsr.errors import CorpusError, LanguageError
from avsr.media import probe
from avsr.synthetic import corpus
from avsr.synthetic.corpus import synthesize
from avsr.synthetic.renderers import RENDERERS
from avsr.synthetic.sentences import WORDS_SECONDS
from avsr.synthetic.text import vocabulary

pytest.importorskip("espeakng_loader")
pytest.importorskip("wordfreq")

MUAVIC_LANGUAGES = ("en", "de")
HOURS = 12 * WORDS_SECONDS / 3600  # 12 utterances


def small(out, **changes):
    options = {
        "languages": MUAVIC_LANGUAGES,
        "hours": HOURS,
        "valid_hours": HOURS / 6,
        "clips": 1,
        "video_fraction": 0.0,
        "shard_size": 5,
        "seed": 3,
    }
    return synthesize(out, **{**options, **changes})


def digests(out: Path) -> dict[str, str]:
    files = [path for path in sorted(out.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


@pytest.fixture(scope="module")
def small_corpus(tmp_path_factory):
    out = tmp_path_factory.mktemp("synthetic")
    return out, small(out)


def test_layout_counts_and_summary(small_corpus):
    out, summary = small_corpus
    assert sorted(path.name for path in (out / "train").iterdir()) == [
        f"{shard:06d}.{kind}" for shard in range(3) for kind in ("jsonl", "tar")
    ]
    assert summary["utterances"] == {"train": 12, "valid": 2, "test": 2}
    assert summary == json.loads((out / "synthesize.json").read_text())
    assert summary["options"]["seed"] == 3
    assert "espeakng-loader" in summary["versions"]
    assert not (out / ".parts").exists()
    train = read_manifest(out / "train.jsonl")
    assert [record.language for record in train] == ["en", "de"] * 6
    assert [record.media for record in train[4:6]] == ["train/000000.tar", "train/000001.tar"]
    assert summary["seconds"]["train"] == pytest.approx(sum(r.end for r in train), abs=0.01)


def test_samples_are_the_manifest(small_corpus):
    out, _ = small_corpus
    samples = list(read_shards(out, "train"))
    train = read_manifest(out / "train.jsonl")
    assert [sample.record.utterance_id for sample in samples] == [r.utterance_id for r in train]
    for sample in samples:
        assert sample.mouth is None
        assert len(sample.waveform) == round(sample.record.end * 16000)
        assert [word["word"] for word in sample.record.words] == sample.record.text.split()
        assert any(phone["phone"] for phone in sample.record.phones)
        assert all(phone["end"] <= sample.record.end for phone in sample.record.phones)


def test_test_clips_lie_beside_their_manifest(small_corpus):
    out, _ = small_corpus
    for record in read_manifest(out / "test.jsonl"):
        assert record.split == "test"
        assert (out / record.media).is_file()


def test_workers_and_order_change_no_byte(small_corpus, tmp_path):
    out, _ = small_corpus
    small(tmp_path / "again", workers=2)
    assert digests(tmp_path / "again") == digests(out)


def test_goes_on_after_an_interruption(small_corpus, tmp_path, monkeypatch):
    out, _ = small_corpus
    written = []
    real = corpus._write_shard

    def interrupted(*arguments):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(arguments[-1])
        return real(*arguments)

    monkeypatch.setattr(corpus, "_write_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small(tmp_path)
    assert [path.name for path in (tmp_path / "train").glob("*.tar")] == ["000000.tar"]
    assert not (tmp_path / "train.jsonl").exists()
    first = (tmp_path / "train" / "000000.tar").stat().st_mtime_ns
    monkeypatch.setattr(corpus, "_write_shard", real)
    small(tmp_path)
    assert (tmp_path / "train" / "000000.tar").stat().st_mtime_ns == first
    assert digests(tmp_path) == digests(out)


def test_other_options_need_another_folder(small_corpus):
    out, _ = small_corpus
    with pytest.raises(CorpusError, match=r"other options \(seed\)"):
        small(out, seed=4)


def test_progress_reaches_the_total(tmp_path):
    reports = []
    small(tmp_path, clips=0, valid_hours=0, progress=lambda *report: reports.append(report))
    assert reports == [("train", 0, 12), ("train", 5, 12), ("train", 10, 12), ("train", 12, 12)]


def test_shares_unbalance_the_training_utterances(tmp_path):
    small(tmp_path, shares=(3, 1), clips=0, valid_hours=8 * 1.66 / 3600)
    train = read_manifest(tmp_path / "train.jsonl")
    assert [record.language for record in train] == ["en", "en", "de", "en"] * 3
    assert len({record.utterance_id for record in train}) == 12
    valid = [record.language for record in read_manifest(tmp_path / "valid.jsonl")]
    assert valid.count("en") == valid.count("de") == 4
    small(tmp_path, shares=(3, 1), clips=0, valid_hours=8 * 1.66 / 3600)
    with pytest.raises(CorpusError, match=r"other options \(shares"):
        small(tmp_path, shares=(2, 1), clips=0, valid_hours=8 * 1.66 / 3600)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"languages": ()}, "no language"),
        ({"languages": ("en", "en")}, "twice"),
        ({"video_fraction": 1.5}, "video_fraction is 1.5"),
        ({"word_exponent": -1.0}, "word_exponent is -1.0"),
        ({"words": 10}, "words must be within 50 and 1000"),
        ({"shares": (1.0,)}, "one for each language"),
        ({"hours": -1}, "must be within 0 and"),
        ({"workers": 0}, "at least 1"),
        ({"renderers": ()}, "one name or several"),
        ({"renderers": ("photo", "photo")}, "one name or several"),
        ({"renderers": ("foto",)}, "unknown renderer 'foto', use some of photo"),
        ({"renderers": ("photo", "drawn")}, "drawn must not be trained on"),
        ({"synthesizer": "festival"}, "unknown synthesizer 'festival', use one of espeak-ng"),
        ({"synthesizer": "pico"}, "pico must not be trained on"),
    ],
)
def test_mistakes(tmp_path, changes, message):
    with pytest.raises(CorpusError, match=message):
        small(tmp_path, **changes)


def test_unknown_language(tmp_path):
    with pytest.raises(LanguageError, match="unknown language 'xyz'"):
        small(tmp_path, languages=("xyz",))


def test_texts_keep_to_the_most_frequent_words(tmp_path):
    small(tmp_path, languages=("el",), hours=HOURS / 2, words=50, clips=2)
    records = read_manifest(tmp_path / "train.jsonl") + read_manifest(tmp_path / "test.jsonl")
    used = {word for record in records for word in record.text.split()}
    assert used <= set(vocabulary("el")[0][:50])


def test_mouth_crops_fit_the_sound_and_repeat(tmp_path):
    options = {"hours": HOURS / 3, "valid_hours": 0, "clips": 0, "video_fraction": 0.5}
    small(tmp_path / "a", **options)
    samples = list(read_shards(tmp_path / "a", "train"))
    with_video = [sample for sample in samples if sample.mouth is not None]
    assert 0 < len(with_video) < len(samples)
    for sample in with_video:
        assert sample.mouth.shape == (len(sample.waveform) // 640, 96, 96)
        assert sample.mouth.std(axis=0).max() > 5  # it moves
    small(tmp_path / "b", **options)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_clips_are_videos_with_sound(tmp_path, monkeypatch):
    def grey(utterance, rng):
        assert utterance.split == "test"
        return (np.full((64, 64, 3), 128, np.uint8) for _ in range(utterance.num_frames))

    monkeypatch.setitem(RENDERERS, "photo", replace(RENDERERS["photo"], draw_frames=grey))
    small(tmp_path, hours=0, valid_hours=0, video_fraction=1.0)
    for record in read_manifest(tmp_path / "test.jsonl"):
        info = probe(tmp_path / record.media)
        assert info.has_video
        assert info.has_audio
        assert info.duration == pytest.approx(record.end, abs=0.05)


def test_the_foreign_test_set_names_its_renderer_and_synthesizer(tmp_path, monkeypatch):
    pytest.importorskip("py_nanotts")

    def grey(utterance, rng):
        return (np.full((64, 64, 3), 128, np.uint8) for _ in range(utterance.num_frames))

    monkeypatch.setitem(RENDERERS, "drawn", replace(RENDERERS["drawn"], draw_frames=grey))
    options = {"renderers": ["drawn"], "synthesizer": "pico", "languages": ("en",)}
    options |= {"hours": 0, "valid_hours": 0, "video_fraction": 1.0}
    summary = small(tmp_path, **options)
    assert summary["options"]["renderers"] == ["drawn"]
    assert "py-nanotts" in summary["versions"]
    (record,) = read_manifest(tmp_path / "test.jsonl")
    assert record.utterance_id == "s3-test-en-000000-drawn"
    assert record.speaker in ("pico_en-gb", "pico_en-us")
    assert [word["word"] for word in record.words] == record.text.split()
    assert probe(tmp_path / record.media).duration == pytest.approx(record.end, abs=0.05)


def test_utterances_draw_one_of_several_renderers(tmp_path, monkeypatch):
    def draw_level(level):
        return lambda utterance, rng: np.full((utterance.num_frames, 96, 96), level, np.uint8)

    photo = RENDERERS["photo"]
    monkeypatch.setitem(RENDERERS, "photo", replace(photo, draw_mouth=draw_level(50)))
    monkeypatch.setitem(RENDERERS, "other", replace(photo, draw_mouth=draw_level(200)))
    small(tmp_path, renderers=["photo", "other"], video_fraction=1.0, clips=0)
    names = {"-photo": 50, "-other": 200}
    seen = dict.fromkeys(names, 0)
    for sample in read_shards(tmp_path, "train"):
        name = sample.record.utterance_id[-6:]
        seen[name] += 1
        assert abs(float(sample.mouth.mean()) - names[name]) < 5
    assert min(seen.values()) >= 2
