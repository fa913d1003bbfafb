import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fake_recognizer import RATE, FakeRecognizer, tone

from avsr.augmentation import mix_at_snr
from avsr.corpus import Record, ShardWriter, read_manifest, write_manifest
from avsr.errors import ConfigError, CorpusError, LanguageError, MediaError
from avsr.evaluation import (
    EvaluationConfig,
    Noise,
    NoiseLibrary,
    evaluate,
    read_run,
    results,
    run,
    write_report,
)
from avsr.evaluation.clips import ClipReader
from avsr.hub import load_network
from avsr.model.directory import save_directory
from avsr.model.network import AVSRModel

CLEAN = {"snr_db": ("clean",)}


def config(manifest: Path, **changes) -> EvaluationConfig:
    options = {"modalities": ("audio",), "out": str(manifest.parent / "results"), **CLEAN}
    return EvaluationConfig(manifest=str(manifest), **(options | changes))


def score(manifest: Path, recognizer: FakeRecognizer | None = None, **changes):
    """The scores of every condition."""
    folder = evaluate(config(manifest, **changes), recognizer=recognizer or FakeRecognizer())
    return results(read_run(folder))["conditions"]


def test_scores_by_hand(manifest):
    calls = []
    folder = evaluate(
        config(manifest, batch_size=4),
        recognizer=FakeRecognizer(wrong=("u2",)),
        progress=lambda what, done, total: calls.append((done, total)),
    )
    assert calls == [(4, 6), (6, 6)]
    loaded = read_run(folder)
    assert [o.utterance_id for o in loaded.conditions["audio-clean-auto"]] == [
        f"u{n}" for n in range(6)
    ]
    condition = results(loaded)["conditions"]["audio-clean-auto"]
    assert condition["by_language"]["de"]["wer"] == 0.0
    assert condition["by_language"]["de"]["wer_interval"] == [0.0, 0.0]
    english = condition["by_language"]["en"]  # "nothing at all" for "word 2"
    assert (english["substitutions"], english["insertions"], english["wer"]) == (2, 1, 0.5)
    assert english["wer_interval"] == [0.0, 1.5]
    assert condition["average"]["wer"] == 0.25
    assert condition["average"]["language_accuracy"] == pytest.approx((1 + 2 / 3) / 2)
    assert condition["identification"]["confusion"]["en"] == {"en": 2, "fr": 1}
    assert condition["used"] == {"av": 0, "audio": 6, "video": 0}
    timing = json.loads((folder / "timing.json").read_text())
    assert set(timing) == {"audio-clean-auto", "shared"}


def test_model_data_and_noise_have_a_folder_each_and_conditions_join_it(manifest, tmp_path):
    changes = [
        {},
        {"limit": 1},
        {"split": "valid"},
        {"languages": ("de",)},
        {"beam_size": 2},
        {"snr_db": (0,)},
        {"snr_db": (0,), "seed": 1},
        {"snr_db": (0,), "snr_over": "speech"},
        {"snr_db": (0,), "noises": ("speech",)},
    ]
    folders = [evaluate(config(manifest, **c), recognizer=FakeRecognizer()) for c in changes]
    assert len({f.name for f in folders}) == len(changes)
    assert folders[0].name.startswith("fakerecognizer-")
    assert "_test-" in folders[0].name
    more = evaluate(config(manifest, language_modes=("given",)), recognizer=FakeRecognizer())
    assert more == folders[0]
    assert list(read_run(more).conditions) == ["audio-clean-auto", "audio-clean-given"]


def test_an_interrupted_run_goes_on_and_ends_like_one_that_was_not(manifest, lips):
    options = {"modalities": ("av", "audio"), "snr_db": ("clean", 0), "batch_size": 2}
    whole = evaluate(config(manifest, **options), recognizer=FakeRecognizer())

    class Interrupted(FakeRecognizer):
        def transcribe(self, batch, languages):
            if len(self.batches) == 6:
                raise KeyboardInterrupt
            return super().transcribe(batch, languages)

    Interrupted.__name__ = "FakeRecognizer"  # the name is part of the folder's
    other = config(manifest, **options, out=str(manifest.parent / "cut"))
    with pytest.raises(KeyboardInterrupt):
        evaluate(other, recognizer=Interrupted())
    (folder,) = (manifest.parent / "cut").iterdir()
    assert not read_run(folder).conditions, "nothing half done counts"
    with (folder / "conditions/av-clean-auto.jsonl").open("a") as file:
        file.write('{"utterance_id": "u2", "lang')  # the power went
    recognizer = FakeRecognizer()
    assert evaluate(replace(other, batch_size=3), recognizer=recognizer) == folder
    assert "u0" not in recognizer.clips, "what was done is not done again"
    for path in sorted((whole / "conditions").iterdir()):
        assert (folder / "conditions" / path.name).read_text() == path.read_text()
    again = FakeRecognizer()
    evaluate(other, recognizer=again)
    assert not again.batches


def test_two_processes_and_other_batches_give_the_same_bytes(manifest, untrained):
    options = {"snr_db": ("clean", 0), "model": str(untrained), "language_modes": ("auto", "given")}
    one = evaluate(config(manifest, **options))
    two = evaluate(
        config(manifest, **options, batch_size=1, out=str(manifest.parent / "two")), workers=2
    )
    assert one.name == two.name
    texts = [json.dumps(results(read_run(folder))) for folder in (one, two)]
    assert texts[0] == texts[1]
    assert (one / "noise.json").read_bytes() == (two / "noise.json").read_bytes()


def test_what_conditions_share_is_done_once(manifest, lips):
    calls, _ = lips
    recognizer = FakeRecognizer()
    folder = evaluate(
        config(
            manifest,
            modalities=("av", "audio", "video"),
            snr_db=("clean", 0, 5),
            language_modes=("auto", "given"),
            video_corruptions=("clean", "blur:2"),
        ),
        recognizer=recognizer,
    )
    assert len(read_run(folder).conditions) == 2 * (6 + 3 + 2)
    assert len(calls) == 6
    assert recognizer.num_mouths == 12, "each clip with each corruption"
    assert len(recognizer.batches) == 6 + 3 + 2


def test_start_and_end_cut_sound_and_lips(manifest, lips):
    record = Record(
        utterance_id="u1",
        media="1.flac",
        start=0.2,
        end=0.6,
        text="",
        language="en",
        split="test",
        speaker="s",
    )
    write_manifest(manifest, [record])
    recognizer = FakeRecognizer()
    conditions = score(manifest, recognizer, modalities=("av",))
    clip = recognizer.clips["u1"]
    np.testing.assert_allclose(clip.waveform, tone(1)[3200:9600], atol=1e-4)
    assert clip.mouth[:, 0, 0].tolist() == list(range(5, 15))
    row = conditions["av-clean-auto"]["by_language"]["en"]
    assert (row["words"], row["insertions"], row["wer"]) == (0, 2, None), "nothing was to be said"


def test_lips_are_cropped_once_and_again_when_the_file_changes(manifest, lips, tmp_path):
    calls, _ = lips
    options = {"cache": str(tmp_path / "crops"), "limit": 1}
    first, second = FakeRecognizer(), FakeRecognizer()
    score(manifest, first, modalities=("av",), **options)
    score(manifest, second, modalities=("video",), **options)
    assert sorted(calls) == ["0.flac", "1.flac"]
    assert second.clips["u0"].waveform is None
    np.testing.assert_array_equal(second.clips["u0"].mouth, first.clips["u0"].mouth)
    soundfile.write(manifest.parent / "0.flac", tone(9)[:8000], RATE)
    score(manifest, modalities=("video",), beam_size=4, **options)
    assert sorted(calls) == ["0.flac", "0.flac", "1.flac"]


def test_without_a_face_the_sound_is_used_and_said_so(manifest, lips):
    lips[1][0] = False
    conditions = score(manifest, modalities=("av", "video"))
    assert conditions["av-clean-auto"]["used"] == {"av": 0, "audio": 6, "video": 0}
    blind = conditions["video-clean-auto"]
    assert len(blind["failed"]) == 6
    assert blind["failed"][0]["reason"].endswith("0.flac: no face")
    assert blind["average"]["wer"] == 1.0  # they count, they are not left out
    assert blind["identification"] is None


def test_a_broken_file_counts_as_all_wrong_and_is_listed(manifest):
    (manifest.parent / "3.flac").write_bytes(b"not sound")
    condition = score(manifest, split="test", snr_db=(0,))["audio-babble+0dB-auto"]
    assert [entry["utterance_id"] for entry in condition["failed"]] == ["u3"]
    assert "3.flac" in condition["failed"][0]["reason"]
    assert condition["by_language"]["de"]["wer"] == 0.5
    assert condition["by_language"]["de"]["language_accuracy"] == 0.5


def test_missing_files_are_an_error_before_anything_is_done(manifest):
    (manifest.parent / "4.flac").unlink()
    recognizer = FakeRecognizer()
    with pytest.raises(MediaError, match=r"1 of 6 media files are missing, the first is .*4\.flac"):
        score(manifest, recognizer)
    assert not recognizer.batches
    assert not (manifest.parent / "results").exists()


def test_the_language_of_the_manifest_or_one_for_all(manifest):
    conditions = score(manifest, language_modes=("given", "de"))
    assert conditions["audio-clean-given"]["average"]["wer"] == 0.0
    assert conditions["audio-clean-de"]["by_language"]["en"]["wer"] == 1.5
    assert conditions["audio-clean-de"]["by_language"]["de"]["wer"] == 0.0


def test_limit_counts_by_language(manifest):
    recognizer = FakeRecognizer()
    score(manifest, recognizer, limit=2)
    assert sorted(recognizer.clips) == ["u0", "u1", "u2", "u3"]


def test_mistakes(manifest, untrained, tmp_path):
    with pytest.raises(CorpusError, match="no records to evaluate, languages"):
        score(manifest, languages=("fr",))
    with pytest.raises(ConfigError, match="neither auto, given nor a language of the model"):
        evaluate(config(manifest, model=str(untrained), language_modes=("xx",)))
    records = [replace(r, language="sw") for r in read_manifest(manifest)]
    write_manifest(tmp_path / "other.jsonl", records)
    with pytest.raises(LanguageError, match="does not know sw, which the manifest has"):
        evaluate(config(tmp_path / "other.jsonl", model=str(untrained)))
    with pytest.raises(ConfigError, match="cannot be read"):
        score(manifest, noise_manifest=str(tmp_path / "none.json"))
    with pytest.raises(ConfigError, match="is no folder of an evaluation run"):
        read_run(tmp_path)


def test_noise_is_mixed_by_mix_at_snr(manifest):
    recognizer = FakeRecognizer()
    folder = evaluate(config(manifest, snr_db=(-5,), seed=4), recognizer=recognizer)
    speech = ClipReader(manifest.parent).sound(read_manifest(manifest)[1])
    noise = Noise(kind="babble", snr_db=-5.0)
    mixed, pieces = NoiseLibrary(["babble"], seed=4).mix(speech, noise, "u1")
    np.testing.assert_array_equal(recognizer.clips["u1"].waveform, mixed)
    (entry,) = read_run(folder).conditions["audio-babble-5dB-auto"][1].noise
    assert entry == pieces[0]
    babble, rate = soundfile.read(
        Path(run.__file__).parents[1] / "assets/noise/babble.flac", dtype="float32"
    )
    first = round(entry["start"] * rate)
    np.testing.assert_array_equal(mixed, mix_at_snr(speech, babble[first : first + RATE], -5.0))


def test_utterances_in_shards(manifest, tmp_path):
    """``avsr prepare`` leaves a manifest of shards; it is scored like one of files."""
    crops = np.arange(25, dtype=np.uint8)[:, None, None] * np.full((1, 96, 96), 8, np.uint8)
    with ShardWriter(tmp_path / "corpus", "test") as writer:
        for number, record in enumerate(read_manifest(manifest)):
            stored = replace(record, media="test/000000.tar", split="test", end=1.0)
            writer.write(stored, tone(number).astype(np.float32), crops if number else None)
    recognizer = FakeRecognizer()
    shards = tmp_path / "corpus/test.jsonl"
    score(shards, recognizer, modalities=("av",))
    assert recognizer.clips["u0"].modality == "audio"
    clip = recognizer.clips["u3"]
    assert clip.modality == "av"
    np.testing.assert_allclose(clip.waveform, tone(3), atol=1e-4)
    assert np.abs(clip.mouth.mean((1, 2)) - crops.mean((1, 2))).max() < 2
    (tmp_path / "corpus/test/000000.jsonl").write_text("")
    conditions = score(shards, recognizer)
    reason = conditions["audio-clean-auto"]["failed"][0]["reason"]
    assert reason.endswith("000000.tar: does not hold u0")


def test_a_model_that_names_no_language_is_scored_for_its_words_only(manifest, untrained, tmp_path):
    model = load_network(untrained, "cpu")
    plain = AVSRModel(replace(model.config, parts=("encoder", "decoder")), model.tokenizer)
    save_directory(plain.eval(), tmp_path / "plain", card="")
    folder = evaluate(config(manifest, model=str(tmp_path / "plain")), device="cpu")
    condition = results(read_run(folder))["conditions"]["audio-clean-auto"]
    assert condition["used"]["audio"] == 6
    assert condition["average"]["wer"] is not None
    assert condition["average"]["language_accuracy"] is None
    assert write_report(folder).is_file()


def test_a_run_in_another_precision_has_another_folder(manifest, untrained):
    folders = {
        precision: evaluate(
            config(manifest, model=str(untrained), precision=precision), device="cpu"
        )
        for precision in ("auto", "fp32", "int8")
    }
    assert folders["auto"] == folders["fp32"] != folders["int8"]
    assert read_run(folders["int8"]).about["model"]["precision"] == "int8"
    assert "precision" not in read_run(folders["fp32"]).about["model"]
    with pytest.raises(ConfigError, match="precision must be one of auto, fp32, bf16, int8"):
        config(manifest, precision="int4")


def test_a_folder_of_an_older_version_is_refused(manifest):
    folder = evaluate(config(manifest), recognizer=FakeRecognizer())
    about = json.loads((folder / "run.json").read_text())
    about["cells"] = about.pop("conditions")
    (folder / "run.json").write_text(json.dumps(about))
    for work in (
        lambda: read_run(folder),
        lambda: evaluate(config(manifest), recognizer=FakeRecognizer()),
    ):
        with pytest.raises(ConfigError, match="is from an older version of avsr"):
            work()
