"""Parallel maps over processes and a Ray cluster: order, errors, addresses, the same bytes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from avsr.cli import app as cli
from avsr.corpus import Record
from avsr.errors import AvsrError
from avsr.runtime.workers import cluster_map, process_map

EXAMPLE = Path(__file__).parents[2] / "demo/examples/de.mp4"


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Address of a cluster that is started once: what connects to it finds itself connected."""
    ray = pytest.importorskip("ray")
    with cluster_map("local"):
        yield "local"
    assert not ray.is_initialized()


def test_the_runtime_needs_no_extra_and_nothing_heavy():
    """Only ``share_cores``, which limits OpenCV, and a cluster import more when they are called."""
    folder = Path(__file__).parents[2] / "avsr/runtime"
    names = [f"avsr.runtime.{path.stem}" for path in sorted(folder.glob("*.py"))]
    heavy = ["soundfile", "ray", "torch", "cv2", "av", "scipy", "mediapipe", "lightning"]
    script = (
        "import importlib, sys\n"
        f"for name in {heavy}: sys.modules[name] = None\n"
        f"for name in {names}: importlib.import_module(name.removesuffix('.__init__'))\n"
        "from avsr.runtime.workers import process_map\n"
        "with process_map(1) as run: print(list(run(abs, [-1, 2])))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[1, 2]\n", done.stderr


def test_process_map_keeps_the_order():
    with process_map(2) as run:
        assert list(run(square, range(7))) == [n * n for n in range(7)]


def square(number):
    if number < 0:
        raise ValueError("negative")
    return number * number


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("somewhere", "is no address of a Ray cluster"),
        ("127.0.0.1:1", "no Ray cluster at '127.0.0.1:1'"),
        ("127.0.0.1:99999", "no Ray cluster"),
    ],
)
def test_a_wrong_address_is_named(address, message):
    pytest.importorskip("ray")
    with pytest.raises(AvsrError, match=message), cluster_map(address):
        pass


def test_results_come_in_order_and_errors_as_they_are(cluster):
    with cluster_map(cluster) as run:
        squares = run(square, range(20))
        assert next(squares) == 0
        assert list(squares) == [n * n for n in range(1, 20)]
        with pytest.raises(ValueError, match="negative"):
            list(run(square, [1, -1]))


def test_a_command_on_a_cluster_prints_and_writes_the_same(cluster, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "talk.mp4").write_bytes(EXAMPLE.read_bytes())
    outputs = []
    for out, where in [("here/", []), ("there/", ["--cluster", cluster])]:
        status = cli.main(["transcribe", "talk.mp4", "-o", out, "--modality", "audio", *where])
        outputs.append((status, capsys.readouterr().out))
    assert outputs[0] == outputs[1]
    assert outputs[0][0] == 0
    assert outputs[0][1].startswith("talk.mp4  de ")
    words = (tmp_path / "here/talk.srt").read_text("utf-8")
    assert (tmp_path / "there/talk.srt").read_text("utf-8") == words
    assert words


def test_a_cluster_gives_the_same_bytes(cluster, muavic, tmp_path):
    from avsr.corpus.prepare import prepare

    rows = [(f"t{i}/t{i}_0000", f"texto {i}") for i in range(7)]
    for name, _ in rows[:-1]:
        muavic.write_segment(tmp_path / "muavic", "es", "train", name)
    records = [
        Record(
            utterance_id=f"u{i}",
            media=f"es/audio/train/{name}.wav",
            text=text,
            language="es",
            split="train",
            speaker="s",
        )
        for i, (name, text) in enumerate(rows)
    ]
    options = {"video": False, "shard_size": 3}
    here = prepare(records, tmp_path / "muavic", tmp_path / "here", "train", **options)
    there = prepare(
        records, tmp_path / "muavic", tmp_path / "there", "train", cluster=cluster, **options
    )
    assert [f.utterance_id for f in there.failures] == ["u6"]
    assert there.records == here.records
    for path in sorted((tmp_path / "here").rglob("*")):
        if path.is_file():
            other = tmp_path / "there" / path.relative_to(tmp_path / "here")
            assert other.read_bytes() == path.read_bytes(), path
