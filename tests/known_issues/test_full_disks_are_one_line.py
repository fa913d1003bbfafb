"""A full disk ended in "unexpected OSError" in most writers, and some left half a file.

Every writer names its file in one line, and an old file stays.
"""

import contextlib
import errno
import os
import resource
from pathlib import Path

import numpy as np
import pytest

from avsr.cli import app as cli
from avsr.corpus import Record, ShardWriter, write_manifest
from avsr.corpus.balance import language_balance, plot_balance
from avsr.errors import AvsrError
from avsr.evaluation import clips
from avsr.evaluation.run_folder import append_condition
from avsr.evaluation.scores import UtteranceResult
from avsr.media import write_video
from avsr.training.checkpoints import save_tensors
from avsr.training.metrics_log import plot_curves

LIMIT = 2000  # bytes of a file


@contextlib.contextmanager
def full_disk():
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def make_record(name, **more):
    values = {"media": f"{name}.wav", "text": "a", "language": "en", "split": "train"}
    return Record(utterance_id=name, speaker="s", **(values | more))


def write_shard(path):
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    with ShardWriter(path.parent, path.name) as writer:
        writer.write(make_record("a", end=1.0), noise, None)


def write_lips(path):
    mouth = np.random.default_rng(0).integers(0, 255, (5, 96, 96), np.uint8)
    lips = clips.Lips(mouth, np.ones(5, bool), np.ones(5, bool))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "track", lambda path, edges: lips)
        clips.cached_track(Path(__file__), path)


def append_results(path):
    result = UtteranceResult(
        utterance_id="u", language="en", reference="a" * LIMIT, hypothesis="", failure=None
    )
    (path / "conditions").mkdir(parents=True)
    append_condition(path, "clean", [result])


def write_pictures(path):
    pictures = np.random.default_rng(0).integers(0, 255, (9, 64, 64, 3), np.uint8)
    write_video(path, pictures)


WRITERS = {
    "manifest": lambda path: write_manifest(path, [make_record(str(i)) for i in range(99)]),
    "shard": write_shard,
    "balance": lambda path: plot_balance(language_balance([make_record("a", end=1.0)]), path),
    "lips": write_lips,
    "results": append_results,
    "video": write_pictures,
    "checkpoint": lambda path: save_tensors({"a": list(range(LIMIT))}, path),
    "curves": lambda path: plot_curves([("all", [])], path),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_writer_names_its_file_and_leaves_nothing(tmp_path, writer):
    path = tmp_path / "target"
    with full_disk(), pytest.raises(AvsrError) as error:
        WRITERS[writer](path)
    message = str(error.value)
    assert message.startswith(str(path)), message
    assert "cannot be written (File too large)" in message
    assert "\n" not in message
    left = [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "clean.jsonl"]
    assert left == []


COMMANDS = {
    "prepare": ["prepare", "manifest", "clips.jsonl", "out", "--no-video"],
    "balance": ["balance", "clips.jsonl", "--plot", "out.png"],
}


@pytest.mark.parametrize("command", ["prepare", "balance"])
def test_a_command_ends_with_2_and_goes_on_later(tmp_path, monkeypatch, capsys, command, make_clip):
    make_clip("a.wav", video_codec=None, audio_codec="pcm_s16le", audio_rate=16_000, layout="mono")
    write_manifest(tmp_path / "clips.jsonl", [make_record("a", end=1.0)])
    monkeypatch.chdir(tmp_path)
    with full_disk():
        assert cli.main(COMMANDS[command]) == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert "cannot be written (File too large)" in line
    assert cli.main(COMMANDS[command]) == 0


def test_no_space_is_said_with_what_to_do(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.write_bytes", fail)
    with pytest.raises(AvsrError, match=r"a.jsonl: cannot be written .*No space.*: free some"):
        write_manifest(tmp_path / "a.jsonl", [make_record("a")])
