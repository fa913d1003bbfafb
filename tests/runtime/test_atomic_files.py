"""Files appear when they are complete, under names that nobody can foresee; what is left goes."""

import contextlib
import errno
import os
import resource
import subprocess
import sys
import time

import pytest

from avsr.errors import AvsrError, WriteError
from avsr.runtime import atomic_files
from avsr.runtime.atomic_files import (
    atomic_write,
    finish_replacing,
    make_folder,
    replace_bytes,
    replace_files,
    replace_text,
    temporary_beside,
)

KILLED = """
import os, signal, sys
from pathlib import Path
from avsr.runtime.atomic_files import atomic_write, replace_files
with {call} as new:
    (new / "a" if new.is_dir() else new).write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def unswept():
    """As in a new process."""
    atomic_files._swept.clear()


def kill_writer(call):
    process = subprocess.run([sys.executable, "-c", KILLED.format(call=call)], check=False)
    assert process.returncode == -9


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with contextlib.suppress(ZeroDivisionError), atomic_write(path) as temporary:
        temporary.write_text("half")
        assert temporary.parent == tmp_path
        assert path.read_text() == "old"
        raise ZeroDivisionError
    assert path.read_text() == "old"
    replace_text(path, "new")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_the_mode_is_that_of_a_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with atomic_write(tmp_path / "a") as temporary:
        temporary.chmod(0o600)
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("name", ["a" * 251 + ".txt", "é" * 127])
def test_names_may_be_as_long_as_the_system_allows(tmp_path, name):
    replace_text(tmp_path / name, "whole")
    assert names(tmp_path) == [name]


def test_a_longer_name_is_found_before_the_work(tmp_path):
    with pytest.raises(WriteError, match=r"a: cannot be written \(File name too long\)"):
        atomic_write(tmp_path / ("a" * 256)).__enter__()


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far/target.txt", tmp_path / "link.txt"
    target.write_text("old")
    link.symlink_to("far/target.txt")
    replace_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    target.unlink()  # it may also be missing
    replace_text(link, "again")
    assert link.is_symlink()
    assert target.read_text() == "again"


def test_a_link_that_was_put_there_is_not_followed(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    monkeypatch.setattr(atomic_files, "_temporary_name", lambda suffix="": ".foreseen")
    (tmp_path / ".foreseen").symlink_to(victim)
    with pytest.raises(WriteError, match="cannot be written"):
        replace_text(tmp_path / "a.txt", "theirs")
    assert victim.read_text() == "mine"


def test_names_are_random(tmp_path):
    paths = {temporary_beside(tmp_path / "a") for _ in range(20)}
    assert len(paths) == 20
    assert all(path.suffix == ".part" for path in paths)


def test_a_device_is_no_file(tmp_path):
    (tmp_path / "null.srt").symlink_to("/dev/null")
    with pytest.raises(WriteError, match=r"null.srt: cannot be written \(Not a regular file\)"):
        replace_text(tmp_path / "null.srt", "text")
    assert os.path.exists("/dev/null")


def test_a_killed_process_leaves_nothing_for_long(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/a").write_text("old")
    kill_writer(f"replace_files(Path({str(tmp_path / 'model')!r}))")
    assert len(names(tmp_path / "model")) == 2
    kill_writer(f"replace_files(Path({str(tmp_path / 'new')!r}))")
    assert len(names(tmp_path)) == 2
    kill_writer(f"atomic_write(Path({str(tmp_path / 'a.txt')!r}))")
    assert len(names(tmp_path)) == 2
    replace_text(tmp_path / "b.txt", "whole")
    assert names(tmp_path) == ["b.txt", "model"]
    with replace_files(tmp_path / "model") as new:
        (new / "a").write_text("new")
    assert names(tmp_path / "model") == ["a"]


def test_a_process_that_nobody_waits_for_has_ended(tmp_path):
    code = KILLED.format(call=f"atomic_write(Path({str(tmp_path / 'a.txt')!r}))")
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        deadline = time.monotonic() + 60
        while atomic_files._is_running(process.pid):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        atomic_files._swept.clear()
        replace_text(tmp_path / "b.txt", "whole")
        assert names(tmp_path) == ["b.txt"]


def test_only_what_was_left_is_deleted(tmp_path, monkeypatch):
    own = temporary_beside(tmp_path / "a")
    host, boot = atomic_files._machine()
    gone = 2**22 + 1  # more than any process id of Linux
    kept = {
        own.name,
        f".avsr-00000000-{boot}-{gone}-{'0' * 16}.part",  # another machine's
        f".avsr-{host}-00000000-{gone}-{'0' * 16}.part",  # another boot's, just written
        f".avsr-{host}-{boot}-{os.getppid()}-{'0' * 16}.part",  # a living process's
        ".notes.txt.1234",
        "clip.part",
    }
    old = f".avsr-{host}-00000000-{gone}-{'1' * 16}.part"
    for name in [*kept, old, f".avsr-{host}-{boot}-{gone}-{'1' * 16}.part"]:
        (tmp_path / name).touch()
    os.utime(tmp_path / old, (0, 0))
    atomic_files._swept.clear()
    replace_text(tmp_path / "b.txt", "whole")
    assert {*names(tmp_path)} == {*kept, "b.txt"}


def test_a_full_disk_is_one_line(tmp_path):
    replace_bytes(tmp_path / "a", b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(WriteError) as error:
            replace_bytes(tmp_path / "a", bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert isinstance(error.value, AvsrError)
    assert str(error.value) == f"{tmp_path / 'a'}: cannot be written (File too large)"
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_a_full_disk_has_advice():
    error = WriteError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a.txt")
    assert str(error) == "a.txt: cannot be written (No space left on device: free some space)"


def test_an_error_of_another_file_is_not_blamed_on_this_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="other"), atomic_write(tmp_path / "a"):
        (tmp_path / "other").read_bytes()


@pytest.mark.parametrize("taken", ["file", "file/below"])
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, taken):
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=f"{taken}: cannot be written"):
        make_folder(tmp_path / taken)


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("moves", range(4))
def test_files_are_replaced_together_wherever_that_is_interrupted(tmp_path, monkeypatch, moves):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("a", "b", "gone.onnx", "notes.txt"):
        (folder / name).write_text("old")
    real, count = os.replace, iter(range(100))

    def replace(source, target):
        if next(count) == moves:
            raise KilledError
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with contextlib.suppress(KilledError), replace_files(folder, ["*.onnx"]) as new:
        for name in ("a", "b", "c"):
            (new / name).write_text("new")
    assert (folder / atomic_files.PENDING).exists() == (moves < 3)
    monkeypatch.setattr(os, "replace", real)
    finish_replacing(folder)
    contents = {path.name: path.read_text() for path in folder.iterdir()}
    assert contents == {"a": "new", "b": "new", "c": "new", "notes.txt": "old"}


def test_a_pending_folder_names_files_of_its_own_folder_only(tmp_path):
    (tmp_path / "mine").touch()
    pending = tmp_path / "model" / atomic_files.PENDING
    pending.mkdir(parents=True)
    (pending / atomic_files.OBSOLETE).write_text('["../mine", ".."]')
    finish_replacing(tmp_path / "model")
    assert names(tmp_path) == ["mine", "model"]
    assert names(tmp_path / "model") == []
