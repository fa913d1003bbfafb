"""A map over a Ray cluster: order, errors, addresses; and that it changes no byte of a corpus."""

import pytest

from avsr.corpus import Record
from avsr.corpus.prepare import prepare
from avsr.corpus.workers import cluster_map
from avsr.errors import AvsrError


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
def test_what_is_no_cluster_is_named(address, message):
    pytest.importorskip("ray")
    with pytest.raises(AvsrError, match=message), cluster_map(address):
        pass


def test_a_cluster_gives_the_same_bytes(muavic, tmp_path):
    pytest.importorskip("ray")
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
    with cluster_map("local") as run:
        squares = run(square, range(20))
        assert next(squares) == 0
        assert list(squares) == [n * n for n in range(1, 20)]
        with pytest.raises(ValueError, match="negative"):
            list(run(square, [1, -1]))
    there = prepare(
        records, tmp_path / "muavic", tmp_path / "there", "train", cluster="local", **options
    )
    assert [f.utterance_id for f in there.failures] == ["u6"]
    assert there.records == here.records
    for path in sorted((tmp_path / "here").rglob("*")):
        if path.is_file():
            other = tmp_path / "there" / path.relative_to(tmp_path / "here")
            assert other.read_bytes() == path.read_bytes(), path
