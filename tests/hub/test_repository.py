"""Models of a hub: cache, revisions, offline mode, imports, and what goes wrong."""

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

from avsr.errors import AvsrError, ModelError
from avsr.hub import fetch, find_model, load_network
from avsr.hub.names import find_address
from avsr.hub.repository import Repository
from avsr.interop import import_model
from avsr.model.directory import WEIGHTS, load_directory

LOAD = """
import sys
from avsr.cli.display import show_log
from avsr.errors import AvsrError
from avsr.hub import load_network
show_log()
try:
    model = load_network(sys.argv[1], "cpu")
    print(model.decoder.norm.bias[0].item(), *model.config.languages)
except AvsrError as error:
    print(error)
"""


def bias(folder):
    """What tells the models of these tests apart."""
    return load_directory(folder).decoder.norm.bias[0].item()


def refusal(address, **options):
    """The one line with which a model is refused; nothing is left that is taken for it."""
    with pytest.raises(ModelError) as caught:
        fetch(address, **options)
    assert "\n" not in str(caught.value)
    assert not Repository(find_address(address)).is_here()
    return str(caught.value)


def test_a_model_comes_from_the_hub_once_and_then_from_the_cache(hub):
    hub.add_own()
    first = hub.run("-c", LOAD, "hf://me/own")
    assert first.stdout == "1.0 de en\n", first.stderr
    size = (hub.repositories["me/own", "main"] / "model.safetensors").stat().st_size
    licence = "licence: cc-by-nc-4.0 (non-commercial use only)"
    lines = first.stderr.splitlines()
    assert lines[0] == f"avsr: hf://me/own: {size / 1e3:.0f} kB to download; {licence}"
    assert lines[-1] == f"avsr: hf://me/own: {licence}"
    assert len(hub.ranges()) == 1
    hub.requests.clear()
    again = hub.run("-c", LOAD, "hf://me/own", HF_HUB_OFFLINE="1")
    assert again.stdout == first.stdout, again.stderr
    assert hub.requests == []
    assert bias(fetch("hf://me/own")) == 1.0
    assert [path for _, path, _ in hub.requests if "resolve" in path] == []


def test_a_revision_may_be_named(hub):
    hub.add_own()
    hub.add_own(revision="v2", bias=2.0)
    assert bias(fetch("hf://me/own@v2")) == 2.0
    assert bias(fetch("hf://me/own")) == 1.0
    message = refusal("hf://me/own@v3")
    assert message == "cannot download hf://me/own@v3: the repository has no such revision"


def test_a_repository_of_the_port_is_imported_on_the_way(hub, offline):
    hub.add_port()
    address = "hf://me/AV-HuBERT-MuAViC-es"
    imported = fetch(address)
    assert imported.parent == hub.home / "avsr/me--AV-HuBERT-MuAViC-es"
    model = load_directory(imported)
    assert (model.decoder.norm.bias[0].item(), model.config.languages) == (3.0, ("es",))
    stamp = (imported / "model.safetensors").stat().st_mtime_ns
    shutil.rmtree(hub.home / "hub")  # the import is all that is needed
    hub.requests.clear()
    assert fetch(address) == imported
    assert hub.ranges() == []
    offline()
    assert fetch(address) == imported
    assert (imported / "model.safetensors").stat().st_mtime_ns == stamp


def test_without_a_network_the_cache_does(hub):
    hub.add_own()
    fetch("hf://me/own")
    hub.is_down = True
    assert bias(fetch("hf://me/own")) == 1.0
    hub.close()
    assert bias(fetch("hf://me/own")) == 1.0


def test_a_model_that_does_not_fit_is_refused_before_its_weights_come(hub):
    folder = hub.add_port()
    weights = load_file(folder / "model.safetensors")
    name = "model.encoder.encoder.layers.0.attention.q_proj.weight"
    save_file(
        {name.replace(".attention.", ".self_attn."): weights.pop(name), **weights},
        folder / "model.safetensors",
    )
    message = refusal("hf://me/AV-HuBERT-MuAViC-es")
    assert message.startswith("hf://me/AV-HuBERT-MuAViC-es was not downloaded: it does not fit")
    assert f"missing {name}; unexpected {name.replace('.attention.', '.self_attn.')}" in message
    assert hub.ranges() == []
    headers = [r for method, path, r in hub.requests if method == "GET" and "/cdn" in path]
    assert len(headers) == 1


def test_a_long_header_is_read_whole(hub, monkeypatch):
    monkeypatch.setattr("avsr.hub.transfer.HEADER_GUESS", 100)
    hub.add_own()
    assert bias(fetch("hf://me/own")) == 1.0


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"format_version": 2},
            "has format_version 2: a newer avsr has made the model",
        ),
        ({"colour": 1}, "unknown key 'colour': if it is no slip, a newer avsr has made the model"),
        ({"classifier_channels": 9}, "model.safetensors does not fit its config: "),
        ({"vocabulary_size": 9}, "it: the tokenizer has 20 tokens, config.json says 9"),
    ],
)
def test_a_model_directory_that_does_not_fit_is_refused_too(hub, change, complaint):
    folder = hub.add_own()
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | change))
    message = refusal("hf://me/own")
    assert message.startswith("hf://me/own was not downloaded: ")
    assert complaint in message
    assert ("update with 'pip install -U avsr'" in message) == ("newer" in complaint)
    assert hub.ranges() == []


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"x" * 100, "is not a safetensors file"),
        ((9).to_bytes(8, "little") + b"[1, 2, 3]", "is not a safetensors file"),
    ],
)
def test_weights_that_are_none_are_refused(hub, content, complaint):
    folder = hub.add_own()
    (folder / "model.safetensors").write_bytes(content)
    assert complaint in refusal("hf://me/own")


def test_weights_that_are_cut_on_the_hub_are_refused(hub):
    folder = hub.add_own()
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-4])
    assert "its header is of a file of" in refusal("hf://me/own")


def test_a_failed_download_is_one_line(hub, offline):
    hub.add("me/other").joinpath("config.json").write_text("{}")
    hub.add_own("me/gated")
    hub.gated.add("me/gated")
    for address, message in [
        ("hf://me/none", "cannot download hf://me/none: there is no such repository"),
        ("hf://me", "'hf://me' is not a valid address: use hf://owner/name"),
        (
            "hf://me/other",
            "is not a model of the Hugging Face port: it has no model.safetensors",
        ),
        (
            "hf://me/gated",
            "cannot download hf://me/gated: log in with 'hf auth login' and accept the terms",
        ),
    ]:
        with pytest.raises(ModelError) as caught:
            fetch(address)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    hub.is_down = True
    assert "the hub answers with an error (503): try again later" in refusal("hf://me/gated")
    hub.close()
    message = refusal("hf://me/gated")
    assert "it is not in the cache, and there is no connection to 127.0.0.1 (" in message
    message = refusal("muavic-es")
    assert message.startswith("cannot download muavic-es: it is not in the cache, and there is no")
    offline()
    message = refusal("hf://me/gated")
    assert message == (
        "cannot download hf://me/gated: it is not in the cache, and HF_HUB_OFFLINE is set"
    )


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_download_goes_on_after_a_cut(hub, has_ranges):
    folder = hub.add_own()
    hub.has_ranges = has_ranges
    hub.cuts = [1000, 2000, None]
    downloaded = fetch("hf://me/own") / "model.safetensors"
    assert downloaded.read_bytes() == (folder / "model.safetensors").read_bytes()
    begins = ["bytes=0-", "bytes=1000-", "bytes=3000-" if has_ranges else "bytes=2000-"]
    assert hub.ranges() == begins


def test_a_download_that_breaks_off_again_and_again_goes_on_the_next_time(hub):
    folder = hub.add_own()
    hub.cuts = [5000, *[0] * 10]
    message = refusal("hf://me/own")
    assert "hf://me/own: the connection broke at 5 kB of " in message
    assert "run it again, and it goes on there" in message
    (part,) = hub.find_in_cache("blobs/*.incomplete")
    assert part.stat().st_size == 5000
    hub.cuts.clear()
    hub.requests.clear()
    downloaded = fetch("hf://me/own") / "model.safetensors"
    assert downloaded.read_bytes() == (folder / "model.safetensors").read_bytes()
    assert hub.ranges()[-1] == "bytes=5000-"
    assert hub.find_in_cache("blobs/*.incomplete") == []


def test_bytes_that_are_not_what_the_hub_states_are_deleted(hub):
    hub.add_own()
    hub.false_digest = True
    message = refusal("hf://me/own")
    assert "model.safetensors is not the file that the hub states" in message
    assert hub.find_in_cache("blobs/*.incomplete") == []
    assert hub.find_in_cache("snapshots/*/model.safetensors") == []


def test_a_part_of_another_file_is_found_out(hub):
    hub.add_own()
    hub.cuts = [5000, *[0] * 10]
    refusal("hf://me/own")
    (part,) = hub.find_in_cache("blobs/*.incomplete")
    part.write_bytes(b"x" * 5000)
    hub.cuts.clear()
    assert "is not the file that the hub states" in refusal("hf://me/own")
    assert bias(fetch("hf://me/own")) == 1.0


@pytest.mark.parametrize(
    ("status", "reason"), [(403, "the hub refuses it (403)"), (404, "answers with an error (404)")]
)
def test_a_file_that_is_refused_in_the_end_is_named(hub, status, reason):
    hub.add_port("nguyenvulebinh/AV-HuBERT-MuAViC-es")
    hub.refused = status
    message = refusal("muavic-es")
    assert message.startswith("cannot download muavic-es: model.safetensors: ")
    assert reason in message


@pytest.mark.parametrize("answer", [b"<html>log in</html>", b"[1, 2]"])
def test_an_answer_of_somebody_else_is_one_line(hub, answer):
    hub.portal = answer
    message = refusal("hf://me/own")
    assert message.startswith(
        "cannot download hf://me/own: 127.0.0.1 answers, but not as a hub does ("
    )


def test_a_server_that_sends_more_than_it_stated_is_not_listened_to(hub):
    folder = hub.add_own()
    size = (folder / "model.safetensors").stat().st_size
    hub.too_much = b"x" * 3_000_000
    reports = []
    message = refusal("hf://me/own", progress=lambda *report: reports.append(report))
    assert "model.safetensors is not the file that the hub states" in message
    assert max(done for done, _, _ in reports) <= size
    assert hub.find_in_cache("blobs/*.incomplete") == []
    hub.too_much = b""
    assert bias(fetch("hf://me/own")) == 1.0


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.model", "config.json"])
def test_a_file_that_was_cut_in_the_cache_is_downloaded_again(hub, offline, name):
    hub.add_own()
    fetch("hf://me/own")
    (path,) = hub.find_in_cache(f"snapshots/*/{name}")
    content = path.read_bytes()
    path.resolve().write_bytes(content[: len(content) // 2])
    if name != "config.json":
        before = huggingface_hub.constants.HF_HUB_OFFLINE
        offline()
        with pytest.raises(ModelError) as caught:
            load_network("hf://me/own", "cpu")
        assert str(caught.value).endswith(
            f"; to download it again, delete {hub.home / 'hub/models--me--own'}"
        )
        huggingface_hub.constants.HF_HUB_OFFLINE = before
    assert bias(fetch("hf://me/own")) == 1.0
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.model", "config.json"])
@pytest.mark.parametrize("is_lost", [True, False])
def test_an_import_that_is_not_whole_is_made_again(hub, offline, name, is_lost):
    hub.add_port()
    folder = fetch("hf://me/AV-HuBERT-MuAViC-es")
    content = (folder / name).read_bytes()
    if is_lost or name == "tokenizer.model":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content[: len(content) // 2])
    offline()
    assert fetch("hf://me/AV-HuBERT-MuAViC-es") == folder
    assert (folder / name).read_bytes() == content


def test_a_repository_in_parts_is_named(hub):
    folder = hub.add_own()
    (folder / "model.safetensors").rename(folder / "model.safetensors.index.json")
    message = refusal("hf://me/own")
    assert message == "hf://me/own: its weights are in several parts, which avsr does not read"


def test_deep_settings_are_refused(hub):
    (hub.add_own() / "config.json").write_text("[" * 100_000)
    assert "config.json is broken: " in refusal("hf://me/own")


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64, torch.uint8])
def test_weights_that_are_no_floats_do_not_come(hub, dtype):
    for folder in (hub.add_own(), hub.add_port()):
        weights = load_file(folder / "model.safetensors")
        save_file({n: w.to(dtype) for n, w in weights.items()}, folder / "model.safetensors")
    assert ", no floats" in refusal("hf://me/own")
    assert ", no floats" in refusal("hf://me/AV-HuBERT-MuAViC-es")
    assert hub.ranges() == []


def test_progress_counts_bytes_and_may_cancel(hub):
    class CancelledError(Exception):
        pass

    hub.add_own()
    reports = []

    def cancel(done, total, what):
        reports.append((done, total, what))
        if done > total // 2:
            raise CancelledError

    with pytest.raises(CancelledError):
        fetch("hf://me/own", cancel)
    assert not Repository("hf://me/own").is_here()
    total = reports[0][1]
    fetch("hf://me/own", lambda *report: reports.append(report))
    assert {what for _, _, what in reports} == {"hf://me/own"}
    assert {all_bytes for _, all_bytes, _ in reports} == {total}
    done = [report[0] for report in reports]
    assert done == sorted(done)
    assert done[-1] == total == (hub.repositories["me/own", "main"] / WEIGHTS).stat().st_size


def test_without_a_listener_the_log_tells_the_progress(hub, caplog):
    hub.add_own()
    caplog.set_level("INFO", "avsr.hub")
    fetch("hf://me/own")
    lines = [record.getMessage() for record in caplog.records]
    assert any(" to download; licence: cc-by-nc-4.0" in line for line in lines)
    assert lines[-1].startswith("hf://me/own: ")
    assert 2 <= len([line for line in lines if " of " in line]) <= 11


def test_a_disk_without_room_is_one_line(hub, monkeypatch):
    hub.add_own()
    usage = SimpleNamespace(free=100)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: usage)
        message = refusal("hf://me/own")
    assert " has 0 kB free: free some space, or set HF_HOME to a folder on another" in message
    assert hub.ranges() == []


def test_a_disk_that_is_full_in_the_middle_gets_its_space_back(hub):
    hub.add_own()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        message = refusal("hf://me/own")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "File too large; free some space" in message
    assert hub.find_in_cache("blobs/*.incomplete") == []
    assert bias(fetch("hf://me/own")) == 1.0


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_a_download_that_goes_on_later(hub):
    folder = hub.add_own()
    hub.cuts, hub.stalls = [5000], True
    video = str(folder.parents[3] / "talk.mp4")
    open(video, "wb").close()
    command = [sys.executable, "-m", "avsr", "transcribe", "--model", "hf://me/own", video]
    process = subprocess.Popen(
        command, env=hub.environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not any(p.stat().st_size == 5000 for p in hub.find_in_cache("blobs/*.incomplete")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert not Repository("hf://me/own").is_here()
    hub.stalls = False
    hub.requests.clear()
    assert bias(fetch("hf://me/own")) == 1.0
    assert hub.ranges()[-1] == "bytes=5000-"


def test_two_at_a_time_download_once(hub):
    hub.add_own()
    code = "import sys; from avsr.hub import fetch; fetch(sys.argv[1])"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, "hf://me/own"], env=hub.environment())
        for _ in range(2)
    ]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    assert hub.ranges() == ["bytes=0-"]


def test_a_language_model_is_downloaded_and_converted(hub, monkeypatch, caplog):
    hub.add_language()

    def convert(source, out):
        assert {path.name for path in source.iterdir()} == {
            *("embedding_model.ckpt", "classifier.ckpt", "label_encoder.txt", "README.md")
        }
        out.mkdir(parents=True)
        (out / "config.json").write_text('{"architecture": "other"}')
        (out / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")

    monkeypatch.setattr("avsr.interop.import_model", convert)
    folder = find_model("voxlingua107")
    assert folder.parent.name == "speechbrain--lang-id-voxlingua107-ecapa"
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        "voxlingua107: not the published classifier.ckpt, embedding_model.ckpt (by its SHA-256)"
    ]
    assert find_model("voxlingua107") == folder


def test_an_address_is_checked_without_the_network():
    for address in (
        *("hf://", "hf://a", "hf://a/b/c", "hf://a/b@", "hf://a b/c"),
        *("hf://../..", "hf://me/-own-", "hf://.me/own", "hf://me/o--n", "hf://me/o..n"),
        *("hf://me/own.git", f"hf://me/{96 * 'o'}", "hf://me/own@../../x", "hf://me/own@/x"),
    ):
        with pytest.raises(AvsrError, match="is not a valid address"):
            fetch(address)


def test_a_true_file_of_the_port_comes_through_the_hub(hub, offline, reference_dir, tmp_path):
    (source,) = (reference_dir / "hf_port/narrow").glob("AV-HuBERT-*")
    served = hub.add("nguyenvulebinh/AV-HuBERT-MuAViC-es")
    for path in source.iterdir():
        shutil.copyfile(path, served / path.name)
    import_model(source, tmp_path / "direct")
    hub.cuts = [1_000_000]
    imported = find_model("muavic-es")
    offline()
    assert find_model("hf://nguyenvulebinh/AV-HuBERT-MuAViC-es") == imported
    for name in ("config.json", "model.safetensors", "tokenizer.model"):
        assert (imported / name).read_bytes() == (tmp_path / "direct" / name).read_bytes()
