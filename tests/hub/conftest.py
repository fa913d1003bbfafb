"""A hub on this machine: ranges, redirects for large files, and what goes wrong on demand."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub.constants
import pytest
import torch
from huggingface_hub import close_session
from safetensors.torch import save_file

from avsr.decoder import DecoderConfig, Tokenizer
from avsr.encoder import AVHubertConfig
from avsr.hub import transfer
from avsr.interop.key_table import foreign_name, to_port
from avsr.model.config import PARTS, ModelConfig
from avsr.model.directory import save_directory
from avsr.model.network import AVSRModel

LARGE = ("model.safetensors", "embedding_model.ckpt")  # served as the hub serves large files


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


class Hub:
    """Repositories by name and revision, and a server for them."""

    def __init__(self, folder):
        self.folder = folder
        self.home = folder / "home"
        self.repositories = {}
        self.requests = []
        """(method, path, range) of every request."""
        self.gated = set()
        """Names of repositories whose files need a permission."""
        self.cuts = []
        """Bytes after which the next answers with a large file break off; None: not at all."""
        self.stalls = False
        """Whether an answer that is cut stays open."""
        self.has_ranges = True
        self.refused = None
        """Status with which whole large files are refused, but not their headers."""
        self.portal = None
        """The answer to every question, in place of the hub's."""
        self.too_much = b""
        """What comes after the end of a large file."""
        self.false_digest = False
        self.is_down = False
        self.servers = [ThreadingHTTPServer(("127.0.0.1", 0), self._handler()) for _ in range(2)]
        for server in self.servers:
            server.daemon_threads = True
            server.handle_error = lambda *connection: None  # clients that go away are meant
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        self.endpoint, self.cdn = (f"http://127.0.0.1:{s.server_port}" for s in self.servers)

    def add(self, name, revision="main"):
        """Return the folder of a new repository."""
        folder = self.folder / "served" / name.replace("/", "--") / revision
        folder.mkdir(parents=True)
        self.repositories[name, revision] = folder
        return folder

    def add_own(self, name="me/own", revision="main", bias=1.0):
        """Add a model directory of avsr."""
        card = "---\nlicense: cc-by-nc-4.0\n---\n# Own\n"
        folder = self.add(name, revision)
        save_directory(make_model(bias=bias), folder, card=card)
        return folder

    def add_port(self, name="me/AV-HuBERT-MuAViC-es"):
        """Add a model of the Hugging Face port."""
        folder = self.add(name)
        model = make_model(("encoder", "decoder"), bias=3.0)
        weights = {
            to_port(foreign_name(name)): weight.contiguous()
            for name, weight in model.state_dict().items()
            if foreign_name(name)
        }
        weights["model.lm_head.weight"] = torch.zeros(20, 32)
        save_file(weights, folder / "model.safetensors")
        heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
        (folder / "config.json").write_text(json.dumps(heads))
        (folder / "sentencepiece.bpe.model").write_bytes(model.tokenizer.model)
        pieces = model.tokenizer.pieces(range(20))
        (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
        return folder

    def add_language(self, name="speechbrain/lang-id-voxlingua107-ecapa"):
        """Add the files of a language-ID model; what is in them does not matter here."""
        folder = self.add(name)
        for file in ("embedding_model.ckpt", "classifier.ckpt", "label_encoder.txt", "README.md"):
            (folder / file).write_bytes(file.encode() * 10)
        return folder

    def ranges(self):
        """Return the ranges in which weights were asked for, in order; headers do not count."""
        return [
            asked
            for method, path, asked in self.requests
            if method == "GET" and path.startswith("/cdn") and (asked or "-").endswith("-")
        ]

    def find_in_cache(self, pattern):
        """Return files of the cache of huggingface_hub."""
        return sorted(self.home.glob(f"hub/models--*/{pattern}"))

    def run(self, *command, **environment):
        """Run Python in a process that knows this hub only."""
        return subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            env=self.environment() | environment,
        )

    def environment(self):
        kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        return kept | {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(self.home),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "OMP_NUM_THREADS": "1",
        }

    def close(self):
        """Stop to answer."""
        self.stalls = False
        for server in self.servers:
            server.shutdown()
            server.server_close()
        close_session()  # connections that are open would go on

    def _handler(hub):  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def reply(self, status, content=b"", cut=None, **headers):
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content[:cut])
                    if cut is not None:
                        self.wfile.flush()
                        while hub.stalls:
                            time.sleep(0.02)
                        self.close_connection = True

            def do_GET(self):
                asked = self.headers.get("Range")
                hub.requests.append((self.command, self.path.split("?")[0], asked))
                path = self.path.split("?")[0].strip("/").removeprefix("api/models/").split("/")
                if hub.is_down:
                    self.reply(503)
                elif hub.portal is not None:
                    self.reply(200, hub.portal)
                elif path[0] == "cdn" and hub.refused and asked.endswith("-"):
                    self.reply(hub.refused)
                elif path[0] == "cdn":
                    self.send_file(hub.folder / "served" / "/".join(path[1:]), asked)
                else:
                    self.answer("/".join(path[:2]), path[2:], asked)

            def answer(self, name, rest, asked):
                kind = rest[0] if rest else ""
                revision = rest[1] if len(rest) > 1 else "main"
                commits = {hashlib.sha1(r.encode()).hexdigest(): r for _, r in hub.repositories}
                folder = hub.repositories.get((name, commits.get(revision, revision)))
                if folder is None:
                    known = any(owner == name for owner, _ in hub.repositories)
                    self.reply(404, X_Error_Code="RevisionNotFound" if known else "RepoNotFound")
                    return
                commit = hashlib.sha1(commits.get(revision, revision).encode()).hexdigest()
                if kind == "resolve":
                    self.resolve(name, folder / "/".join(rest[2:]), commit, asked)
                else:
                    files = [
                        {"rfilename": file.name, "size": file.stat().st_size}
                        for file in folder.iterdir()
                    ]
                    info = {"id": name, "modelId": name, "sha": commit, "siblings": files}
                    self.reply(200, json.dumps(info).encode(), Content_Type="application/json")

            def resolve(self, name, file, commit, asked):
                if name in hub.gated:
                    self.reply(403, X_Error_Code="GatedRepo")
                elif not file.is_file():
                    self.reply(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
                elif file.name in LARGE:
                    digest = hashlib.sha256(file.read_bytes()).hexdigest()
                    self.reply(
                        302,
                        Location=f"{hub.cdn}/cdn/{file.relative_to(hub.folder / 'served')}",
                        X_Repo_Commit=commit,
                        X_Linked_Size=str(file.stat().st_size),
                        X_Linked_ETag=f'"{digest[::-1] if hub.false_digest else digest}"',
                    )
                else:
                    tag = hashlib.sha1(file.read_bytes()).hexdigest()
                    self.send_file(file, asked, X_Repo_Commit=commit, ETag=f'"{tag}"')

            def send_file(self, file, asked, **headers):
                content = file.read_bytes()
                first, last = 0, len(content) - 1
                if asked and hub.has_ranges:
                    match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked)
                    first, last = int(match[1]), min(int(match[2] or last), last)
                    headers["Content_Range"] = f"bytes {first}-{last}/{len(content)}"
                part = content[first : last + 1]
                is_large = self.path.startswith("/cdn") and self.command == "GET"
                part += hub.too_much if is_large and asked.endswith("-") else b""
                is_whole = is_large and asked.endswith("-")  # not only the header
                cut = hub.cuts.pop(0) if hub.cuts and is_whole else None
                self.reply(206 if "Content_Range" in headers else 200, part, cut, **headers)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *arguments):
                pass

        return Handler


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub, which is the one of this process, with an empty cache; retries do not wait."""
    hub = Hub(tmp_path)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name, value in {
        "ENDPOINT": hub.endpoint,
        "HF_HOME": str(hub.home),
        "HF_HUB_CACHE": str(hub.home / "hub"),
        "HF_HUB_DISABLE_XET": True,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    }.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    monkeypatch.setattr(transfer, "PAUSE", 0.0)
    close_session()
    yield hub
    hub.close()


@pytest.fixture
def offline(monkeypatch):
    """Nothing may be asked for."""

    def set_offline():
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)

    return set_offline
