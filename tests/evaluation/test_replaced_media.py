"""Results count for the bytes that they were made from."""

import os
import shutil

import pytest
import soundfile
from fake_recognizer import RATE, FakeRecognizer, tone

from avsr.evaluation import EvaluationConfig, evaluate, read_run


@pytest.fixture
def options(manifest, tmp_path):
    return EvaluationConfig(
        manifest=str(manifest),
        out=str(tmp_path / "out"),
        split=None,
        modalities=("audio",),
        snr_db=("clean",),
        language_modes=("auto", "given"),
    )


def heard(options):
    recognizer = FakeRecognizer()
    folder = evaluate(options, recognizer=recognizer)
    return folder, set(recognizer.clips)


def test_a_replaced_clip_is_transcribed_anew(options, manifest, caplog):
    folder, names = heard(options)
    assert len(names) == 6
    before = read_run(folder).conditions
    assert heard(options) == (folder, set())
    clip = manifest.parent / "3.flac"
    stat, size = clip.stat(), clip.stat().st_size
    soundfile.write(clip, tone(8), RATE)
    if clip.stat().st_size < size:
        clip.write_bytes(clip.read_bytes() + bytes(size - clip.stat().st_size))
    os.utime(clip, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same size, same time
    assert heard(options) == (folder, {"u3"})
    (line,) = caplog.messages
    assert line.endswith("clips whose media were replaced are transcribed anew: 1")
    after = read_run(folder).conditions
    for name, results in before.items():
        changed = [a.utterance_id for a, b in zip(results, after[name], strict=True) if a != b]
        assert set(changed) <= {"u3"}
    assert heard(options) == (folder, set())


def test_a_clip_that_was_only_copied_or_touched_is_not(options, manifest):
    folder, _ = heard(options)
    clip = manifest.parent / "3.flac"
    shutil.copy(clip, manifest.parent / "copy")
    os.replace(manifest.parent / "copy", clip)
    (manifest.parent / "4.flac").touch()
    assert heard(options) == (folder, set())


def test_conditions_that_are_not_asked_for_lose_it_too(options, manifest, caplog):
    folder, _ = heard(options)
    soundfile.write(manifest.parent / "3.flac", tone(8), RATE)
    auto = EvaluationConfig(**{**vars(options), "language_modes": ("auto",)})
    assert heard(auto) == (folder, {"u3"})
    assert list(read_run(folder).conditions) == ["audio-clean-auto"]
    assert heard(options) == (folder, {"u3"})
    assert len(read_run(folder).conditions) == 2


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"0.flac": 3}'])
def test_results_of_unknown_media_are_not_trusted(options, caplog, content):
    folder, _ = heard(options)
    if content is None:  # as an earlier version left it
        (folder / "media.json").unlink()
    else:
        (folder / "media.json").write_text(content)
    assert len(heard(options)[1]) == 6
    assert caplog.messages[-1].endswith("not known from before are transcribed anew: 6")
    assert heard(options)[1] == set()


def test_damaged_times_do_not_stop_a_run(options):
    folder, _ = heard(options)
    for content in ("", "[1]", "\udcff"):
        (folder / "timing.json").write_text(content, errors="surrogateescape")
        assert heard(options) == (folder, set())
