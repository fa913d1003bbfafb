"""The package without any extra: every command works, or names in one line the extra it needs."""

import importlib.metadata as metadata
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = [str(ROOT / "demo/examples" / f"{code}.mp4") for code in ("de", "es")]
COMMANDS = (
    *("transcribe", "crop", "demo", "synthesize", "validate", "balance", "prepare", "train"),
    *("evaluate", "compare", "import", "export", "models"),
)
SITE = Path(sysconfig.get_paths()["purelib"])


def requirements_of(package: str, seen: set[str]) -> set[str]:
    """Distributions that a package needs without extras, itself included."""
    name = canonicalize_name(package)
    if name in seen:
        return seen
    seen.add(name)
    for text in metadata.requires(package) or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            requirements_of(requirement.name, seen)
    return seen


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel of this tree and links to what it requires, no more."""
    folder = tmp_path_factory.mktemp("bare")
    source = folder / "source"
    shutil.copytree(ROOT / "avsr", source / "avsr", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*wheel, "--wheel-dir", folder, source], check=True)
    venv.create(folder / "env", symlinks=True, with_pip=False)
    site = folder / "env/lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    for name in requirements_of("avsr", set()) - {"avsr"}:
        files = metadata.files(name) or ()
        for top in {file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(SITE / top)
    (built,) = folder.glob("avsr-*.whl")
    shutil.unpack_archive(built, site, "zip")
    return folder / "env/bin/python"


def run(python: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    keep = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run(
        [python, "-m", "avsr", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=keep,
    )


def test_extras_are_not_there(bare: Path, tmp_path: Path) -> None:
    for package in ("soundfile", "lightning", "gradio", "ray", "rapidfuzz", "skimage"):
        code = f"import importlib.util, sys; sys.exit(bool(importlib.util.find_spec('{package}')))"
        assert subprocess.run([bare, "-c", code], check=False, cwd=tmp_path).returncode == 0


def test_every_command_has_help(bare: Path, tmp_path: Path) -> None:
    code = "import sys; from avsr.cli.app import main; sys.exit(max(main([c, '--help']) for c in "
    code += f"{COMMANDS!r}))"
    done = subprocess.run([bare, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage:") == len(COMMANDS)


def test_transcribe_with_one_and_two_processes(bare: Path, tmp_path: Path) -> None:
    one = run(bare, "transcribe", "--json", *EXAMPLES, cwd=tmp_path)
    assert one.returncode == 0, one.stderr
    texts = [json.loads(line)["text"] for line in one.stdout.splitlines()]
    assert texts[0] == "seine der wir der am"
    two = run(bare, "transcribe", "--json", "--workers", "2", *EXAMPLES, cwd=tmp_path)
    assert two.returncode == 0, two.stderr
    assert [json.loads(line)["text"] for line in two.stdout.splitlines()] == texts


def test_validate_and_balance(bare: Path, tmp_path: Path) -> None:
    record = {"utterance_id": "a", "media": EXAMPLES[0], "start": 0, "end": 1, "text": "seine"}
    record |= {"language": "de", "split": "train", "speaker": "x"}
    (tmp_path / "m.jsonl").write_text(json.dumps(record) + "\n")
    done = run(bare, "validate", "m.jsonl", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "1 records, 0 broken\n"), done.stderr
    assert run(bare, "balance", "m.jsonl", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("transcribe", "--cluster", "local", EXAMPLES[0]), "cluster"),
        (("train", "recipe.yaml"), "train"),
        (("evaluate", "m.jsonl"), "evaluate"),
        (("synthesize", "out", "--hours", "0.01"), "synthetic"),
    ],
)
def test_a_missing_extra_is_one_line(
    bare: Path, tmp_path: Path, arguments: tuple[str, ...], extra: str
) -> None:
    done = run(bare, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    *_, line = done.stderr.splitlines()
    assert f"pip install 'avsr[{extra}]'" in line or "avsr[train]" in line, done.stderr
    assert "Traceback" not in done.stderr
