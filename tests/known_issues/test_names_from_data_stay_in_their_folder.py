"""A record's split was used as a path: ``"split": "../../photos"`` removed that folder.

Every name from data that becomes part of a path is refused where it is read, with file and line,
and finishing a split deletes nothing but its own lists.
"""

import dataclasses
import json
import re

import numpy as np
import pytest
import soundfile

from avsr.cli import app as cli
from avsr.corpus import Record, ShardWriter, open_shards, read_manifest
from avsr.corpus.resumable import ResumableSplit
from avsr.errors import ConfigError, CorpusError
from avsr.evaluation import Condition, Noise, read_run
from avsr.runtime.safe_names import name_problem
from avsr.training.config import CorpusConfig, StageConfig, TrainConfig

GOOD = Record(
    utterance_id="a", media="a.wav", text="one", language="en", split="train", speaker="s"
)
HOSTILE = [
    *("../../photos", "/photos", "..", ".", "", ".hidden", "a/b", "a\\b", "a b", "a.b", "a\tb"),
    *("a\nb", "a\0b", "a\x1b[2Jb", "a\u2028b", "x" * 300, "é" * 120),
]


@pytest.fixture
def photos(tmp_path):
    """A folder beside the corpus, which a hostile split names, and one inside of it."""
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000, np.float32), 16_000)
    for folder in (tmp_path / "photos", tmp_path / "work" / "photos"):
        folder.mkdir(parents=True)
        (folder / "000000.jpg").write_bytes(b"photo")
    return tmp_path / "photos"


def write(path, **changes):
    values = {**json.loads(GOOD.to_json()), **changes}
    path.write_text(json.dumps(values) + "\n")
    return path


@pytest.mark.parametrize("field", ["split", "utterance_id"])
def test_a_name_that_leads_elsewhere_is_refused_with_its_line(photos, field, capsys):
    before = sorted(photos.parent.rglob("*"))
    manifest, out = photos.parent / "m.jsonl", str(photos.parent / "work" / "out")
    names = [name for name in HOSTILE if len(name) < 100 or field == "split"]
    for name in [*names, "x" * 1100]:
        write(manifest, **{field: name})
        assert cli.main(["prepare", "manifest", str(manifest), out, "--no-video"]) == 2, name
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        what = "a split" if field == "split" else "an id"
        assert re.search(rf"m\.jsonl:1: (record .* )?has {what} that", message), message
        assert cli.main(["validate", str(manifest)]) == 1
        capsys.readouterr()
        manifest.unlink()
        assert sorted(photos.parent.rglob("*")) == before


def test_a_split_of_the_command_line_leads_nowhere(photos, capsys):
    manifest, out = write(photos.parent / "m.jsonl"), photos.parent / "work" / "out"
    arguments = ["prepare", "manifest", str(manifest), str(out), "--split", "../../photos"]
    assert cli.main(arguments) == 2
    assert (photos / "000000.jpg").exists()


def test_the_library_refuses_it_too(photos):
    out = photos.parent / "work" / "out"
    for name in HOSTILE:
        with pytest.raises(CorpusError, match="the split"):
            ResumableSplit(out, name, 1, 1)
        with pytest.raises(CorpusError, match="the split"):
            ShardWriter(out, name)
        with pytest.raises(CorpusError, match="the split"):
            list(open_shards(out, name))
    assert not out.exists()


def test_finishing_a_split_deletes_only_its_own_lists(photos):
    out = photos.parent / "out"
    (out / ".parts" / "valid").mkdir(parents=True)
    shards = ResumableSplit(out, "train", 1, 1)
    shards.finish_shard(0, [dataclasses.replace(GOOD, end=1.0)], {".failed.jsonl": ""})
    foreign = shards.part(0).with_name("holiday.jpg")
    foreign.write_bytes(b"photo")
    shards.finish()
    left = [path.relative_to(out).as_posix() for path in out.rglob("*")]
    assert sorted(left) == [".parts", ".parts/train", ".parts/train/holiday.jpg", ".parts/valid",
                            "train.jsonl"]  # fmt: skip


@pytest.mark.parametrize("name", ["../../photos", "/photos", "", "a\\b", "a\nb", "a\0b", "x" * 300])
def test_names_in_recipes_are_refused(name):
    corpus, stage = CorpusConfig(path="data"), StageConfig(name="joint", updates=1)
    with pytest.raises(ConfigError, match="the name"):
        TrainConfig(corpora=(corpus,), stages=(dataclasses.replace(stage, name=name),), out="out")
    with pytest.raises(ConfigError, match="the split"):
        TrainConfig(corpora=(dataclasses.replace(corpus, split=name),), stages=(stage,), out="out")


@pytest.mark.parametrize("name", ["../../photos", "/photos", "a/b", "a\\b", "a\nb", "", "x" * 300])
def test_conditions_of_somebody_elses_run_stay_in_it(tmp_path, name):
    condition = dataclasses.asdict(
        Condition(modality="av", noise=None, video_corruption=None, language_mode="auto")
    )
    about = {
        "model": {"name": "m"},
        "manifest": {"name": "m", "sha256": "0", "utterances": 1},
        "noise": "0",
        "normalization": "1",
        "media": ".",
        "paper": None,
        "conditions": {name: condition},
        "versions": {},
    }
    (tmp_path / "run.json").write_text(json.dumps(about))
    with pytest.raises(ConfigError, match=r"run\.json: the condition '.*' (is|holds)"):
        read_run(tmp_path)


def test_long_names_of_files_are_cut_in_names_of_results():
    noise = Noise(kind="/" + "/".join(["recordings"] * 40), snr_db=0.0)
    other = dataclasses.replace(noise, kind=noise.kind + "s")
    names = {
        Condition(modality="av", noise=n, video_corruption=None, language_mode="auto").name
        for n in (noise, other)
    }
    assert len(names) == 2
    assert all(len(name) < 200 and "/" not in name for name in names)


def test_usable_names_stay_usable(tmp_path):
    for name in ("train", "valid_clips", "s1-bbaf2n", "été", "日本", "a" * 200, "نیم‌فاصله"):
        assert name_problem(name) == ""
    path = write(tmp_path / "m.jsonl", utterance_id="é" * 150)
    assert len(read_manifest(path)) == 1
