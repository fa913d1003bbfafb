import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import soundfile

from avsr.audio import mix_at_snr, rms
from avsr.corpus import Record, ShardWriter, read_manifest, write_manifest
from avsr.errors import ConfigError, CorpusError, MediaError
from avsr.evaluation import ClipReader, Noise, clips, evaluate, model_recognizer

RATE = 16_000


@dataclass(frozen=True)
class Said:
    text: str
    language: str


def tone(number: int) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * (200 + 40 * number) * np.arange(RATE) / RATE)


@pytest.fixture
def manifest(tmp_path):
    """Six utterances of one second in two languages: tones of different pitch."""
    records = []
    for number in range(6):
        soundfile.write(tmp_path / f"{number}.flac", tone(number), RATE)
        records.append(
            Record(
                utterance_id=f"u{number}",
                media=f"{number}.flac",
                text=f"Word {number}.",
                language=("en", "de")[number % 2],
                split="test" if number < 5 else "valid",
                speaker="s",
            )
        )
    write_manifest(tmp_path / "test.jsonl", records)
    return tmp_path / "test.jsonl"


class Listener:
    """Knows all texts; notes what it is given."""

    def __init__(self, wrong: tuple[str, ...] = ()) -> None:
        self.clips = {}
        self.batches = []
        self.wrong = wrong

    def __call__(self, batch):
        self.batches.append([clip.name for clip in batch])
        assert len({(clip.modality, clip.language) for clip in batch}) == 1
        self.clips.update({clip.name: clip for clip in batch})
        return [self.say(clip) for clip in batch]

    def say(self, clip):
        true = ("en", "de")[int(clip.name[1:]) % 2]
        if clip.name in self.wrong:
            return Said("nothing at all", "fr")
        return Said(f"word {clip.name[1:]}", true if clip.language == "auto" else clip.language)


def fake_lips(monkeypatch, found=True):
    """Lips without video: one crop per frame, its grey the frame's number."""
    calls = []

    def track(path):
        calls.append(path.name)
        crops = np.arange(25, dtype=np.uint8)[:, None, None] * np.ones((1, 96, 96), np.uint8)
        return crops, np.full(25, found)

    monkeypatch.setattr(clips, "track", track)
    return calls


def test_scores_and_results_file(manifest, tmp_path):
    seen = []
    result = evaluate(
        Listener(wrong=("u2",)),
        manifest,
        modality="audio",
        batch_size=4,
        settings={"model": "none"},
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(4, 6), (6, 6)]
    assert [outcome.utterance_id for outcome in result.outcomes] == [f"u{n}" for n in range(6)]
    assert result.scores["de"].words.rate == 0.0
    assert result.scores["en"].words.errors == 3  # "nothing at all" for "word 2"
    path = result.save(tmp_path / "results")
    written = json.loads(path.read_text())
    assert written["languages"]["en"]["wer"] == 0.5
    assert written["average"] == {
        "wer": 0.25,
        "cer": pytest.approx(written["languages"]["en"]["cer"] / 2),
        "language_accuracy": pytest.approx((1 + 2 / 3) / 2),
    }
    assert written["condition"]["settings"] == {"model": "none"}
    assert written["condition"]["noise"] is None
    assert written["used"] == {"av": 0, "audio": 6, "video": 0}
    lines = path.with_suffix(".jsonl").read_text().splitlines()
    assert json.loads(lines[2])["hypothesis"] == "nothing at all"
    assert len(list((tmp_path / "results").iterdir())) == 2


def test_every_condition_has_its_own_file(manifest):
    conditions = [
        {},
        {"noise": Noise(snr_db=0.0)},
        {"noise": Noise(snr_db=5.0)},
        {"noise": Noise(snr_db=0.0), "seed": 1},
        {"language": "given"},
        {"limit": 1},
        {"split": "valid"},
        {"settings": {"model": "other"}},
    ]
    names = [evaluate(Listener(), manifest, modality="audio", **c).name for c in conditions[:1]]
    for changes in conditions[1:]:
        options = {"split": "test", **changes} if "noise" in changes else changes
        names.append(evaluate(Listener(), manifest, modality="audio", **options).name)
    assert len(set(names)) == len(conditions)
    assert names[1].startswith("test-audio-babble+0dB-")


def test_noise_has_the_snr_and_is_the_same_in_any_order_and_subset(manifest):
    whole, part = Listener(), Listener()
    noise = Noise(snr_db=0.0)
    evaluate(whole, manifest, modality="audio", noise=noise)
    evaluate(part, manifest, modality="audio", noise=noise, languages=["de"], batch_size=1)
    write_manifest(manifest, reversed(read_manifest(manifest)))
    backwards = Listener()
    evaluate(backwards, manifest, modality="audio", noise=noise)
    assert set(part.clips) == {"u1", "u3", "u5"}
    for name, clip in whole.clips.items():
        np.testing.assert_array_equal(backwards.clips[name].waveform, clip.waveform)
        if name in part.clips:
            np.testing.assert_array_equal(part.clips[name].waveform, clip.waveform)
        clean = tone(int(name[1:]))
        spectrum = np.abs(np.fft.rfft(clip.waveform.astype(np.float64)))
        own = 200 + 40 * int(name[1:])
        scale = spectrum[own] / np.abs(np.fft.rfft(clean))[own]
        assert rms(clip.waveform - scale * clean) == pytest.approx(scale * rms(clean), rel=0.01)


def test_babble_is_made_of_the_other_utterances(manifest):
    reader = ClipReader(read_manifest(manifest), manifest.parent)
    record = reader.records[2]
    babble = reader.babble(record, Noise(snr_db=0.0), 0, RATE)
    spectrum = np.abs(np.fft.rfft(babble))
    pitches = [200 + 40 * number for number in range(6)]
    loud = [hz for hz in pitches if spectrum[hz] > 0.5 * spectrum.max()]
    assert loud == [hz for hz in pitches if hz != 280]
    other = reader.babble(record, Noise(snr_db=5.0), 0, RATE)
    assert np.abs(other - babble).max() > 0.01
    assert np.abs(reader.babble(record, Noise(snr_db=0.0), 1, RATE) - babble).max() > 0.01


def test_one_utterance_cannot_babble(manifest):
    with pytest.raises(ConfigError, match="other utterances"):
        evaluate(Listener(), manifest, modality="audio", split="valid", noise=Noise(snr_db=0.0))


def test_start_and_end_cut_sound_and_lips(manifest, monkeypatch):
    fake_lips(monkeypatch)
    record = Record(
        utterance_id="part",
        media="1.flac",
        start=0.2,
        end=0.6,
        text="",
        language="en",
        split="test",
        speaker="s",
    )
    reader = ClipReader([record], manifest.parent)
    clip = reader.read(record, modality="av", language="auto")
    assert clip.waveform.shape == (6400,)
    np.testing.assert_allclose(clip.waveform, tone(1)[3200:9600], atol=1e-4)
    assert clip.mouth[:, 0, 0].tolist() == list(range(5, 15))


def test_lips_are_cropped_once_and_again_when_the_file_changes(manifest, monkeypatch, tmp_path):
    calls = fake_lips(monkeypatch)
    options = {"cache_dir": tmp_path / "crops", "limit": 1}
    first, second = Listener(), Listener()
    evaluate(first, manifest, modality="av", **options)
    evaluate(second, manifest, modality="video", **options)
    assert sorted(calls) == ["0.flac", "1.flac"]
    assert second.clips["u0"].waveform is None
    np.testing.assert_array_equal(second.clips["u0"].mouth, first.clips["u0"].mouth)
    soundfile.write(manifest.parent / "0.flac", tone(9)[:8000], RATE)
    evaluate(Listener(), manifest, modality="video", **options)
    assert sorted(calls) == ["0.flac", "0.flac", "1.flac"]


def test_without_a_face_the_sound_is_used_and_said_so(manifest, monkeypatch):
    fake_lips(monkeypatch, found=False)
    result = evaluate(Listener(), manifest, modality="av")
    assert result.to_dict()["used"] == {"av": 0, "audio": 6, "video": 0}
    blind = evaluate(Listener(), manifest, modality="video")
    assert len(blind.failed) == 6
    assert blind.to_dict()["failed"][0]["reason"].endswith("0.flac: no face")
    assert blind.to_dict()["average"]["wer"] == 1.0  # they count, they are not left out


def test_a_broken_file_counts_as_all_wrong_and_is_listed(manifest):
    (manifest.parent / "3.flac").write_bytes(b"not sound")
    result = evaluate(Listener(), manifest, modality="audio", split="test", noise=Noise(snr_db=0))
    assert [outcome.utterance_id for outcome in result.failed] == ["u3"]
    assert "3.flac" in result.failed[0].failure
    assert result.scores["de"].words.rate == 0.5
    assert result.scores["de"].recognised == 1


def test_missing_files_are_an_error_before_anything_is_done(manifest):
    (manifest.parent / "4.flac").unlink()
    listener = Listener()
    with pytest.raises(MediaError, match=r"1 of 6 media files are missing, the first is .*4\.flac"):
        evaluate(listener, manifest, modality="audio")
    assert not listener.batches


def test_given_language_is_told_in_groups(manifest):
    listener = Listener()
    result = evaluate(listener, manifest, modality="audio", language="given")
    assert sorted(listener.batches) == [["u0", "u2", "u4"], ["u1", "u3", "u5"]]
    assert listener.clips["u1"].language == "de"
    assert result.to_dict()["average"]["language_accuracy"] is None


def test_limit_counts_by_language(manifest):
    listener = Listener()
    evaluate(listener, manifest, modality="audio", limit=2)
    assert sorted(listener.clips) == ["u0", "u1", "u2", "u3"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"modality": "both"}, ConfigError, "'both' must be av, audio or video"),
        ({"modality": "video", "noise": Noise(snr_db=0.0)}, ConfigError, "changes nothing"),
        ({"languages": ["fr"]}, CorpusError, "no records to evaluate"),
    ],
)
def test_mistakes(manifest, options, error, message):
    with pytest.raises(error, match=message):
        evaluate(Listener(), manifest, **options)


def test_unknown_noise():
    with pytest.raises(ConfigError, match="unknown noise 'pub'"):
        Noise(kind="pub", snr_db=0.0)


def test_mixing_is_the_audio_stages(manifest):
    listener = Listener()
    noise = Noise(snr_db=-5.0)
    evaluate(listener, manifest, modality="audio", noise=noise, seed=4)
    reader = ClipReader(read_manifest(manifest), manifest.parent)
    record = reader.records[1]
    speech = reader.sound(record)
    expected = mix_at_snr(speech, reader.babble(record, noise, 4, len(speech)), -5.0)
    np.testing.assert_array_equal(listener.clips["u1"].waveform, expected)


def test_a_model_is_a_recogniser(manifest, monkeypatch):
    pipeline = pytest.importorskip("avsr.pipeline")
    seen = []

    def recognize(model, recordings, options):
        seen.append((model, [r.name for r in recordings], options.language, options.beam_size))
        return [Said(f"word {r.name[1:]}", "en") for r in recordings]

    monkeypatch.setattr(pipeline, "recognize", recognize)
    result = evaluate(
        model_recognizer("model", beam_size=2), manifest, modality="audio", languages=["en"]
    )
    assert seen == [("model", ["u0", "u2", "u4"], "auto", 2)]
    assert result.to_dict()["average"] == {"wer": 0.0, "cer": 0.0, "language_accuracy": 1.0}


def test_utterances_in_shards(manifest, tmp_path):
    """``avsr prepare`` leaves a manifest of shards; it is scored like one of files."""
    crops = np.arange(25, dtype=np.uint8)[:, None, None] * np.full((1, 96, 96), 8, np.uint8)
    with ShardWriter(tmp_path / "corpus", "test") as writer:
        for number, record in enumerate(read_manifest(manifest)):
            stored = replace(record, media="test/000000.tar", split="test", end=1.0)
            writer.write(stored, tone(number).astype(np.float32), crops if number else None)
    listener = Listener()
    evaluate(listener, tmp_path / "corpus/test.jsonl")
    assert listener.clips["u0"].modality == "audio"
    clip = listener.clips["u3"]
    assert clip.modality == "av"
    np.testing.assert_allclose(clip.waveform, tone(3), atol=1e-4)
    assert np.abs(clip.mouth.mean((1, 2)) - crops.mean((1, 2))).max() < 2
    (tmp_path / "corpus/test/000000.jsonl").write_text("")
    result = evaluate(listener, tmp_path / "corpus/test.jsonl", modality="audio")
    assert result.failed[0].failure.endswith("000000.tar: does not hold u0")
