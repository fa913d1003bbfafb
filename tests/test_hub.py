"""Models of the hub, from a local server: cache, revisions, offline mode, the list."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from avsr.decoder import DecoderConfig, Tokenizer
from avsr.encoder import AVHubertConfig
from avsr.errors import ModelError
from avsr.hub import fetch
from avsr.interop.key_table import foreign_name
from avsr.model.config import PARTS, ModelConfig
from avsr.model.directory import save_directory
from avsr.model.network import AVSRModel

LOAD = """
import sys
from avsr.cli.display import show_log
from avsr.errors import AvsrError
from avsr.hub import load_network
show_log()
try:
    model = load_network(sys.argv[1], "cpu")
    print(float(model.decoder.norm.bias[0]), *model.config.languages)
except AvsrError as error:
    print(error)
"""


def make_model(parts=PARTS, bias=1.0):
    torch.manual_seed(0)
    config = ModelConfig(
        encoder=AVHubertConfig(
            layers=1, dim=32, ffn_dim=48, heads=4, frontend_width=4, prompts=0, position_kernel=8
        ),
        decoder=DecoderConfig(layers=1, dim=32, ffn_dim=48, heads=4),
        classifier_channels=8,
        vocabulary_size=20,
        languages=("de", "en"),
        parts=parts,
    )
    tokenizer = Tokenizer.train(["ein kleiner satz", "a small sentence"] * 10, 20)
    model = AVSRModel(config, tokenizer).eval()
    torch.nn.init.constant_(model.decoder.norm.bias, bias)
    return model


@pytest.fixture
def hub(tmp_path):
    """A hub with a model of avsr in two revisions, one of the port, and an unknown one."""
    folders = {}
    for revision, bias in (("main", 1.0), ("v2", 2.0)):
        folders["me/own", revision] = tmp_path / "served" / revision
        card = "---\nlicense: cc-by-nc-4.0\n---\n# Own\n"
        save_directory(make_model(bias=bias), folders["me/own", revision], card=card)
    folders["me/AV-HuBERT-MuAViC-es", "main"] = port = tmp_path / "served/port"
    port.mkdir()
    model = make_model(("encoder", "decoder"), bias=3.0)
    weights = {foreign_name(n): w for n, w in model.state_dict().items() if foreign_name(n)}
    save_file(
        {f"model.{name}": w.contiguous() for name, w in weights.items()}, port / "model.safetensors"
    )
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    (port / "config.json").write_text(json.dumps(heads))
    (port / "sentencepiece.bpe.model").write_bytes(model.tokenizer.model)
    pieces = model.tokenizer.pieces(range(20))
    (port / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    folders["me/other", "main"] = other = tmp_path / "served/other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    requests = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self, status, content=b"", **headers):
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def do_GET(self):
            requests.append(self.path)
            path = self.path.split("?")[0].strip("/").removeprefix("api/models/").split("/")
            name, kind = "/".join(path[:2]), path[2] if len(path) > 2 else ""
            revision = path[3] if len(path) > 3 else "main"
            commits = {hashlib.sha1(r.encode()).hexdigest(): r for _, r in folders}
            folder = folders.get((name, commits.get(revision, revision)))
            if folder is None:
                known = any(owner == name for owner, _ in folders)
                self.reply(404, X_Error_Code="RevisionNotFound" if known else "RepoNotFound")
                return
            commit = hashlib.sha1(commits.get(revision, revision).encode()).hexdigest()
            if kind == "resolve":
                file = folder / "/".join(path[4:])
                tag = hashlib.sha256(file.read_bytes()).hexdigest()
                self.reply(200, file.read_bytes(), ETag=f'"{tag}"', X_Repo_Commit=commit)
            elif kind == "tree":
                files = [
                    {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": "0" * 40}
                    for f in folder.iterdir()
                ]
                self.reply(200, json.dumps(files).encode(), Content_Type="application/json")
            else:
                files = [{"rfilename": f.name} for f in folder.iterdir()]
                info = {"id": name, "modelId": name, "sha": commit, "siblings": files, "tags": []}
                self.reply(200, json.dumps(info).encode(), Content_Type="application/json")

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    environment |= {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "OMP_NUM_THREADS": "1",
    }

    def run(*command, **more):
        return subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, env=environment | more
        )

    yield SimpleNamespace(run=run, requests=requests, home=tmp_path / "home")
    server.shutdown()
    server.server_close()


def test_a_model_comes_from_the_hub_once_and_then_from_the_cache(hub):
    first = hub.run("-c", LOAD, "hf://me/own")
    assert first.stdout == "1.0 de en\n", first.stderr
    assert "hf://me/own: licence: cc-by-nc-4.0 (non-commercial use only)" in first.stderr
    assert any("model.safetensors" in path for path in hub.requests)
    hub.requests.clear()
    again = hub.run("-c", LOAD, "hf://me/own", HF_HUB_OFFLINE="1")
    assert again.stdout == first.stdout, again.stderr
    assert hub.requests == []
    hub.run("-c", LOAD, "hf://me/own")
    assert not any("model.safetensors" in path and "resolve" in path for path in hub.requests)


def test_a_revision_may_be_named(hub):
    assert hub.run("-c", LOAD, "hf://me/own@v2").stdout == "2.0 de en\n"
    message = hub.run("-c", LOAD, "hf://me/own@v3").stdout
    assert message == "cannot download hf://me/own@v3: the repository has no such revision\n"


def test_a_repository_of_the_port_is_imported_on_the_way(hub):
    first = hub.run("-c", LOAD, "hf://me/AV-HuBERT-MuAViC-es")
    assert first.stdout == "3.0 es\n", first.stderr
    (imported,) = (hub.home / "avsr/me--AV-HuBERT-MuAViC-es").iterdir()
    stamp = (imported / "model.safetensors").stat().st_mtime_ns
    again = hub.run("-c", LOAD, "hf://me/AV-HuBERT-MuAViC-es", HF_HUB_OFFLINE="1")
    assert again.stdout == first.stdout
    assert (imported / "model.safetensors").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("address", "offline", "message"),
    [
        ("hf://me/none", "0", "cannot download hf://me/none: there is no such repository"),
        (
            "hf://me/own",
            "1",
            "cannot download hf://me/own: it is not in the cache, and the hub cannot",
        ),
        ("hf://me", "0", "'hf://me' is not a valid address: use hf://owner/name"),
        (
            "hf://me/other",
            "0",
            "is not a model of the Hugging Face port: it has no model.safetensors",
        ),
    ],
)
def test_a_failed_download_is_one_line(hub, address, offline, message):
    run = hub.run("-c", LOAD, address, HF_HUB_OFFLINE=offline)
    assert message in run.stdout, run.stderr
    assert run.stdout.count("\n") == 1


def test_models_are_listed_bundled_cached_and_known(hub):
    hub.run("-c", LOAD, "hf://me/own")
    hub.requests.clear()
    run = hub.run("-m", "avsr", "models")
    assert run.returncode == 0, run.stderr
    assert hub.requests == []
    rows = {line.split("  ")[0]: line for line in run.stdout.splitlines()}
    assert "bundled" in rows["tiny"]
    assert "Apache-2.0" in rows["tiny"]
    cached = rows["hf://me/own"]
    assert "cached" in cached
    assert "de en" in cached
    assert "non-commercial" in cached
    public = rows["hf://nguyenvulebinh/AV-HuBERT-MuAViC-multilingual"]
    assert "ar de el es fr it pt ru" in public
    assert "non-commercial" in public


def test_an_address_is_checked_without_the_network():
    for address in ("hf://", "hf://a", "hf://a/b/c", "hf://a/b@", "hf://a b/c"):
        with pytest.raises(ModelError, match="is not a valid address"):
            fetch(address)
