"""Cases: a changed input in a folder of its own, and the command that reads it."""

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import yaml

from tests.fuzz.mutations import change_bytes, change_json, change_yaml

Case = list[str]
"""Arguments of the command line."""

CLEAN = ["--modality", "audio", "--snr", "clean", "--model", "model", "--limit", "2"]


def make_case(seeds: Path, folder: Path, kind: str, random: Random) -> Case:
    """Write a changed input of ``kind``, one of KINDS, into a new folder; return the arguments.

    Args:
        seeds: What ``make_seeds`` wrote; unchanged files are links to it.
        folder: Folder to make.
        kind: Kind of input.
        random: Decides everything.
    """
    folder.mkdir(parents=True)
    for entry in seeds.iterdir():
        (folder / entry.name).symlink_to(entry)
    return KINDS[kind](folder, random)


def _unlink(path: Path) -> bytes:
    """Delete a link or a copy, so that a file of its own can be written; return the content."""
    data = path.read_bytes()
    path.unlink()
    return data


def _own_folder(folder: Path) -> None:
    """Replace the link to a folder by a copy: commands write through links."""
    source = folder.resolve()
    folder.unlink()
    shutil.copytree(source, folder)


def _media(folder: Path, random: Random) -> Case:
    names = sorted(os.listdir(folder / "media"))
    name, other = random.choice(names), random.choice(names)
    data = (folder / "media" / name).read_bytes()
    second = (folder / "media" / other).read_bytes() if random.random() < 0.3 else b""
    file = name if random.random() < 0.9 else f"x{Path(other).suffix}"
    (folder / file).write_bytes(change_bytes(data, random, second))
    kind = random.random()
    if kind < 0.3:
        return ["crop", file, "-o", "crops", "--face", random.choice(("auto", "1", "largest"))]
    arguments = ["transcribe", file, "--modality", random.choice(("av", "av", "audio", "video"))]
    if kind < 0.4:
        arguments += ["--json", "--all-faces"] if arguments[3] != "audio" else ["--json"]
    elif kind < 0.6:
        arguments += ["-o", f"out.{random.choice(('srt', 'vtt', 'json', 'txt'))}"]
    elif kind < 0.7:
        arguments += ["--burn-in", "burnt.mp4"]
    elif kind < 0.75:
        arguments += ["--mouth"]
    elif kind < 0.8:
        arguments += ["--model-set", "set.yaml"]
    return arguments


def _manifest(folder: Path, random: Random) -> Case:
    if random.random() < 0.7:
        path = folder / "manifest.jsonl"
        lines = _unlink(path).splitlines()
        at = random.randrange(len(lines))
        lines[at] = change_json(json.loads(lines[at]), random)
        path.write_bytes(b"\n".join(lines) + b"\n")
    else:
        path = folder / "manifest.csv"
        path.write_bytes(_change_table(_unlink(path), random))
    name = path.name
    return random.choice(
        (
            ["validate", name],
            ["validate", name, "--no-media"],
            ["balance", name],
            ["prepare", "manifest", name, "shards"],
            ["prepare", "manifest", name, "shards", "--no-video"],
            ["evaluate", name, *CLEAN],
        )
    )


def _change_table(data: bytes, random: Random) -> bytes:
    if random.random() < 0.3:
        return change_bytes(data, random)
    odd = (b"", b'"', b"nan", b"-1", b"1e999", b"\x00", b"\xff", b"[1]", b"\xe2\x80\xa8", b"\r")
    cells = data.split(b",")
    cells[random.randrange(len(cells))] = random.choice(odd)
    return b",".join(cells).replace(b",", random.choice((b",", b",", b",", b";", b"\t")))


def _yaml(folder: Path, random: Random) -> Case:
    name, arguments = random.choice(
        (
            ("train.yaml", ["train", "train.yaml", "--dry-run"]),
            ("train.yaml", ["train", "train.yaml", "--dry-run"]),
            ("evaluate.yaml", ["evaluate", "evaluate.yaml"]),
            ("set.yaml", ["transcribe", "media/k.wav", "--model-set", "set.yaml"]),
        )
    )
    path = folder / name
    path.write_bytes(change_yaml(yaml.safe_load(_unlink(path)), random))
    return arguments


def _model(folder: Path, random: Random) -> Case:
    transcribe = ["transcribe", "media/k.wav", "--model-set", "set.yaml"]
    name = random.choice(("model", "model", "language", "fairseq", "port", "speechbrain"))
    _own_folder(folder / name)
    files = sorted(path for path in (folder / name).iterdir() if path.name != "README.md")
    path = random.choice([*files, *(path for path in files if path.suffix == ".json")])
    data = _unlink(path)
    if path.suffix == ".json":
        path.write_bytes(change_json(json.loads(data), random))
    elif zipfile.is_zipfile(io.BytesIO(data)) and random.random() < 0.8:
        path.write_bytes(_change_archive(data, random))
    elif path.suffix == ".safetensors" and random.random() < 0.7:
        path.write_bytes(_change_tensors(data, random))
    else:
        path.write_bytes(change_bytes(data, random))
    if name == "model":
        return random.choice(
            (
                ["transcribe", "media/k.wav", "--model", "model", "--language", "de"],
                ["transcribe", "media/a.mp4", "--model", "model"],
                transcribe,
                ["export", "model", "out"],
                ["export", "model", "out", "--precision", "int8"],
                ["train", "train.yaml", "--dry-run"],
            )
        )
    if name == "language":
        return transcribe
    source = name
    if name == "fairseq":
        source = next(str(p.relative_to(folder)) for p in files if p.suffix == ".pt")
    return ["import", source, "out"]


def _change_tensors(data: bytes, random: Random) -> bytes:
    """Change the JSON header of a safetensors file, and keep its length true."""
    size = int.from_bytes(data[:8], "little")
    header = change_json(json.loads(data[8 : 8 + size]), random)
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


def _change_archive(data: bytes, random: Random) -> bytes:
    """Change a file in a zip archive, of which the checksums stay true."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w") as archive:
        names = source.namelist()
        pickles = [name for name in names if name.endswith(".pkl")]
        changed = random.choice((*pickles, *pickles, random.choice(names)))
        kind = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        for name in names:
            content = source.read(name)
            content = change_bytes(content, random) if name == changed else content
            archive.writestr(name, content, kind)
    return target.getvalue()


def _shards(folder: Path, random: Random) -> Case:
    split = random.choice(("train", "valid"))
    _own_folder(folder / "corpus")
    tar, index = (folder / "corpus" / split / f"000000.{kind}" for kind in ("tar", "jsonl"))
    kind = random.random()
    if kind < 0.4:
        lines = _unlink(index).splitlines()
        at = random.randrange(len(lines))
        lines[at] = change_json(json.loads(lines[at]), random)
        index.write_bytes(b"\n".join(lines) + b"\n")
    else:
        tar.write_bytes(change_bytes(_unlink(tar), random))
        if kind < 0.8:
            index.unlink()
    if random.random() < 0.3:
        return ["train", "train.yaml", "--workers", "0"]
    return ["train", "train.yaml", "--dry-run"]


def _run(folder: Path, random: Random) -> Case:
    _own_folder(folder / "runs")
    run = next((folder / "runs").iterdir())
    path = random.choice(sorted(path for path in run.rglob("*.json*") if path.is_file()))
    data = _unlink(path)
    if path.suffix == ".json":
        path.write_bytes(change_json(json.loads(data), random))
    else:
        lines = data.splitlines()
        at = random.randrange(len(lines))
        lines[at] = change_json(json.loads(lines[at]), random)
        path.write_bytes(b"\n".join(lines) + b"\n")
    name = str(run.relative_to(folder))
    settings = ["--model", "small", "--modality", "audio", "--snr", "clean,0", "--limit", "2"]
    return random.choice(
        (
            ["compare", name, name],
            ["compare", name, name, "--json"],
            ["evaluate", "manifest.jsonl", *settings, "--out", "runs"],
            ["evaluate", "manifest.jsonl", *settings, "--noise-manifest", f"{name}/noise.json"],
        )
    )


ODD_OPTIONS = (
    *("0", "-1", "1", "0.5", "2.0", "1e308", "1e999", "9" * 22, "nan", "inf", "-inf"),
    *("", "abc", "de,xx", "auto", "/dev/null", "a\nb", "\udcff"),
)
OPTIONS = {
    "transcribe media/k.wav --modality audio": "--beam-size --ctc-weight --lm-weight --language "
    "--device --precision --face --model --max-loaded --format -o --modality --workers",
    "evaluate manifest.jsonl --model model --modality audio --snr clean --limit 1": "--snr --seed "
    "--beam-size --ctc-weight --lm-weight --batch-size --limit --language --languages --split "
    "--noise --video-corruption --precision --device --modality --cache --out --noise-manifest",
    "crop media/a.mp4 -o crops": "--face -o",
    "validate manifest.jsonl": "--languages",
    "balance manifest.jsonl": "--split --plot",
    "prepare manifest manifest.jsonl shards": "--split --workers --languages --valid-speakers",
    "import port out": "--languages --encoder-heads --tokenizer --dictionary",
    "export model out": "--precision --format",
    "calibrate model manifest.jsonl": "--limit --split --advice --cache",
    "train train.yaml --dry-run": "--workers",
}


def _options(folder: Path, random: Random) -> Case:
    command = random.choice(list(OPTIONS))
    arguments = command.split(" ")
    name = random.choice(OPTIONS[command].split(" "))
    if arguments[0] == "calibrate":
        _own_folder(folder / "model")
    return [*arguments, name, random.choice(ODD_OPTIONS)]


KINDS: dict[str, Callable[[Path, Random], Case]] = {
    "media": _media,
    "manifest": _manifest,
    "yaml": _yaml,
    "model": _model,
    "shards": _shards,
    "run": _run,
    "options": _options,
}


def remove_case(folder: Path) -> None:
    """Delete the folder of a case."""
    shutil.rmtree(folder, ignore_errors=True)
