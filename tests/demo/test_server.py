"""The server from outside: its answers, limits and safety, and how it starts and stops."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio_client
import httpx
import pytest

from avsr import AvsrError
from avsr.errors import ConfigError, MediaError
from avsr.media import probe
from demo import guard
from demo.app import build_app, main
from demo.limits import Limits, check_upload
from demo.server import Server, bind, create_app, read_users
from demo.store import BLOCK, Store, open_store

README = Path(__file__).parents[2] / "demo" / "README.md"
FILE = {"_type": "gradio.FileData"}
TLS = ssl.create_default_context()  # made once; httpx would make one for each request
SERVE = """
import asyncio
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from demo import server
from demo.limits import Limits
from demo.store import open_store
app = FastAPI()
async def open_page():
    yield b"here"
    await asyncio.sleep(1000)
app.get("/")(lambda: StreamingResponse(open_page()))
server.SHUTDOWN_SECONDS = 0.2
with server.bind("127.0.0.1", 0) as listener, open_store(Limits()) as store:
    server = server.Server(app, listener, Limits())
    print(server.address, flush=True)
    server.run()
"""


@dataclass
class Site:
    """A running server."""

    address: str
    store: Store

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(self.address + path, timeout=30, verify=TLS, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return httpx.post(self.address + path, timeout=30, verify=TLS, **options)

    def upload(self, content: bytes, name: str = "talk.mp4", **options: Any) -> httpx.Response:
        return self.post("/gradio_api/upload", files={"files": (name, content)}, **options)

    def call(self, path: str, **options: Any) -> httpx.Response:
        settings = {"video": {"path": path, "meta": FILE}, "modality": "av"}
        return self.post("/gradio_api/call/v2/transcribe", json=settings, **options)

    def result(self, call: httpx.Response) -> str:
        """The events of a call, the last of them ``complete`` or ``error``."""
        return self.get(f"/gradio_api/call/transcribe/{call.json()['event_id']}").text

    def transcribe(self, content: bytes, name: str = "talk.mp4") -> str:
        return self.result(self.call(self.upload(content, name).json()[0]))


@contextlib.contextmanager
def serving(recognizer: Any, folder: Path, users: Any = None, **limits: Any) -> Iterator[Site]:
    allowed = Limits(**limits)
    listener = bind("127.0.0.1", 0)
    with listener, open_store(allowed) as store:
        page = build_app(recognizer, folder, allowed)
        app = create_app(page, store, users=users)
        with Server(app, listener, allowed) as address:
            yield Site(address.rstrip("/"), store)


@pytest.fixture
def talk(make_clip: Callable[..., Path]) -> bytes:
    return make_clip("talk.mp4").read_bytes()


@pytest.fixture(scope="module")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Any]]:
    from tests.demo.conftest import FakeRecognizer

    recognizer = FakeRecognizer()
    with serving(
        recognizer,
        tmp_path_factory.mktemp("none"),
        upload_megabytes=1,
        minutes=0.1,
        megapixels=0.5,
        uploads_per_minute=10_000,
        calls_per_minute=10_000,
    ) as site:
        yield site, recognizer


@pytest.fixture
def site(_site: tuple[Site, Any]) -> Site:
    """One server for the tests that ask nothing special of it: 1 MB, 6 s, 0.5 megapixels."""
    _site[1].calls.clear()
    return _site[0]


@pytest.fixture
def calls(_site: tuple[Site, Any]) -> list[Any]:
    """Calls of the site's model."""
    return _site[1].calls


def test_health_and_the_limits_on_the_page(site: Site) -> None:
    answer = site.get("/health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    page = site.get("/").text
    assert "1 MB, 0.1 minutes" in page
    assert "deleted 60 minutes after its last use" in page


def test_an_upload_is_transcribed(site: Site, talk: bytes) -> None:
    assert "place blue at f two now" in site.transcribe(talk)


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=..%2f..%2f..%2f..%2f..%2fetc/passwd",
        "/gradio_api/file=file:///etc/passwd",
        f"/gradio_api/file={Path(__file__)}",
        "/gradio_api/file=pyproject.toml",
        "/gradio_api/file={store}",
        "/gradio_api/file={store}/",
        "/gradio_api/file={store}/../../etc/passwd",
        "/gradio_api/file={store}/%2e%2e/%2e%2e/etc/passwd",
        "/gradio_api/file=http://127.0.0.1/",
        "/gradio_api/file=HTTPS:/example.org",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1/",
        "/static/..%2f..%2froutes.py",
        "/assets/..%2f..%2f..%2froutes.py",
        "/assets//etc/passwd",
        "/svelte/..%2f..%2f..%2froutes.py",
        "/..%2f..%2fetc/passwd",
        "/gradio_api/custom_component/x/client/..%2f/routes.py",
        "/gradio_api/deep_link?session_hash=x",
        "/monitoring",
        "/monitoring/summary",
        "/docs",
        "/openapi.json",
    ],
)
def test_nothing_else_can_be_read(site: Site, path: str) -> None:
    answer = site.get(path.format(store=site.store.folder))
    assert answer.status_code in (403, 404)
    assert "root:" not in answer.text
    assert len(answer.content) < 300


@pytest.mark.parametrize(
    "path",
    ["run/transcribe", "api/transcribe", "process_recording", "component_server", "vibe-edit"],
)
def test_gradios_other_doors_are_shut(site: Site, path: str) -> None:
    assert site.post(f"/gradio_api/{path}", json={"data": []}).status_code == 404


OUTSIDE = ["/etc/passwd", "{clip}", "{store}/../x.mp4", "../x.mp4", "http://127.0.0.1:1/x.mp4", ""]


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("guarded", [True, False])
def test_no_field_names_a_file_that_was_not_uploaded(
    site: Site,
    calls: list[Any],
    tmp_path: Path,
    talk: bytes,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    guarded: bool,
) -> None:
    """Both the guard and, without it, gradio's own check refuse it."""
    if not guarded:
        monkeypatch.setattr(guard, "names_file_outside", lambda *_: False)
    (tmp_path / "other.mp4").write_bytes(talk)
    before = site.store.size()
    call = site.call(path.format(clip=tmp_path / "other.mp4", store=site.store.folder))
    if guarded:
        assert call.status_code == 400
        assert "upload the file first" in call.json()["detail"]
    else:
        assert "event: error" in site.result(call)
    assert not calls
    assert site.store.size() == before


@pytest.mark.parametrize(
    "content",
    [
        b'{"data": [{"video": {"path": "/etc/passwd"}}]}',
        b'{"data": [[[{"a": [{"path": "https://example.org"}]}]]]}',
        b"[" * 200_000,
        b'{"path": "relative.mp4"}',
    ],
)
def test_a_path_is_found_wherever_it_hides(content: bytes) -> None:
    assert guard.names_file_outside(content, Path("/srv/store"))
    assert not guard.names_file_outside(
        b'{"data": [{"path": "/srv/store/a/b.mp4"}, 3]}', Path("/srv/store")
    )
    assert not guard.names_file_outside(b"username=a&password=b", Path("/srv/store"))


@pytest.mark.parametrize(
    "name",
    [
        "../../escaped.mp4",
        "/etc/escaped.mp4",
        "$(touch escaped).mp4",
        "`touch escaped`;touch escaped|.mp4",
        "--help.mp4",
        "concat:a|b.mp4",
        "x" * 400 + ".mp4",
        "نص.mp4",
    ],
)
def test_a_hostile_file_name_is_only_a_name(
    site: Site, talk: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = site.upload(talk, name)
    assert answer.status_code == 200
    path = Path(answer.json()[0])
    assert path.resolve().parent.parent == site.store.folder.resolve()
    assert "place blue at f two now" in site.result(site.call(str(path)))
    assert os.listdir(tmp_path) == ["talk.mp4"]
    assert not list(site.store.folder.glob("escaped*"))


def zip_bomb(folder: Path) -> bytes:
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("film.mp4", bytes(20_000_000))
    return (folder / "bomb.zip").read_bytes()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("zip bomb", "is not a video or audio file"),
        ("text", "is not a video or audio file"),
        ("empty", "is empty"),
        ("playlist", "a list of files"),
        ("hls", "a list of files|is not a video"),
        ("sdp", "a list of files|is not a video"),
        ("long", "is longer than the 0.1 minutes"),
        ("forged length", "is longer than the 0.1 minutes"),
        ("large picture", "its picture of 1000 x 600 has more than the 0.5 megapixels"),
        ("20,000 x 20,000", "none of its picture or sound can be decoded"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(
    site: Site,
    calls: list[Any],
    make_clip: Callable[..., Path],
    tmp_path: Path,
    kind: str,
    message: str,
) -> None:
    options: dict[str, dict[str, Any]] = {
        "long": {"duration": 6.5, "rate": 5},
        "forged length": {"duration": 6.5, "rate": 5},
        "large picture": {"size": (1000, 600), "duration": 0.2},
    }
    if kind == "20,000 x 20,000":
        path = make_clip("bad.avi", duration=0.2, video_codec="rawvideo", audio_codec=None)
        content = path.read_bytes()
        size, forged = struct.pack("<II", 64, 48), struct.pack("<II", 20_000, 20_000)
        assert content.count(size) == 2, "both headers"
        content = content.replace(size, forged)
    elif kind in options:
        path = make_clip("bad.mkv" if kind == "forged length" else "bad.mp4", **options[kind])
        content = path.read_bytes()
        if kind == "forged length":  # Matroska's element Duration, in ms
            start = content.index(b"\x44\x89\x88") + 3
            content = content[:start] + struct.pack(">d", 1000.0) + content[start + 8 :]
            (tmp_path / "forged.mkv").write_bytes(content)
            assert probe(tmp_path / "forged.mkv").duration == pytest.approx(6.5, abs=0.1)
    else:
        texts = {
            "text": b"a letter\n" * 99,
            "empty": b"",
            "playlist": b"ffconcat version 1.0\nfile a\n",
            "hls": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/passwd\n",
            "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
            b"m=video 5004 RTP/AVP 33\n",
        }
        content = texts[kind] if kind in texts else zip_bomb(tmp_path)
    events = site.transcribe(content, "bad.mp4")
    assert "event: error" in events
    assert re.search(f"bad.mp4: .*{message}", events)
    assert str(site.store.folder) not in events
    assert not calls
    assert site.get("/health").status_code == 200


def test_too_much_is_refused_before_and_while_it_comes(site: Site) -> None:
    before = site.store.size()
    assert site.upload(bytes(1_200_000)).status_code == 413

    def endless() -> Iterator[bytes]:
        yield b'--x\r\ncontent-disposition: form-data; name="files"; filename="a.mp4"\r\n\r\n'
        for _ in range(1000):
            yield bytes(100_000)

    answer = site.post(
        "/gradio_api/upload",
        content=endless(),
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    assert answer.status_code == 413
    assert site.store.size() <= before + 1_200_000
    text = json.dumps({"data": ["x" * 5_000_000]})
    assert site.post("/gradio_api/call/transcribe", content=text).status_code == 413


def test_ten_gigabytes_are_refused_unread(site: Site) -> None:
    head = "POST /gradio_api/upload HTTP/1.1\r\nhost: x\r\ncontent-length: 10000000000\r\n"
    with socket.create_connection(("127.0.0.1", int(site.address.split(":")[-1]))) as line:
        line.sendall((head + "content-type: multipart/form-data; boundary=x\r\n\r\n").encode())
        assert line.recv(100).startswith(b"HTTP/1.1 413")


def test_the_browser_may_load_nothing_from_elsewhere(site: Site) -> None:
    policy = site.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert site.get("/gradio_api/file=/etc/passwd").headers["x-content-type-options"] == "nosniff"


def test_a_hundred_uploads_at_once_are_bounded(
    recognizer: Any, tmp_path: Path, talk: bytes
) -> None:
    with serving(recognizer, tmp_path / "none", uploads_at_once=4, uploads_per_minute=30) as site:
        with ThreadPoolExecutor(100) as pool:
            answers = list(pool.map(lambda n: site.upload(talk, f"{n}.mp4"), range(100)))
        codes = [answer.status_code for answer in answers]
        assert set(codes) <= {200, 429, 503}
        assert codes.count(200) >= 1
        assert codes.count(429) >= 10
        assert site.get("/health").status_code == 200
        assert site.store.size() == codes.count(200) * (len(talk) + BLOCK)


def test_a_full_store_takes_no_more(recognizer: Any, tmp_path: Path, talk: bytes) -> None:
    room = 2.5 * (len(talk) + BLOCK) / 1e9
    with serving(recognizer, tmp_path / "none", store_gigabytes=room) as site:
        codes = [site.upload(talk, f"{n}.mp4").status_code for n in range(4)]
        assert codes == [200, 200, 503, 503]


class Busy:
    """A recognizer that waits for ``go`` and counts its simultaneous calls."""

    def __init__(self, recognizer: Any) -> None:
        self.recognizer, self.languages = recognizer, recognizer.languages
        self.go, self.lock = threading.Event(), threading.Lock()
        self.running = self.max_running = 0

    def transcribe(self, path: str, **options: Any) -> Any:
        with self.lock:
            self.running += 1
            self.max_running = max(self.max_running, self.running)
        self.go.wait(20)
        with self.lock:
            self.running -= 1
        return self.recognizer.transcribe(path, **options)


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    assert true()


def test_jobs_and_queue_are_bounded(recognizer: Any, tmp_path: Path, talk: bytes) -> None:
    busy = Busy(recognizer)
    with ThreadPoolExecutor() as pool, serving(busy, tmp_path / "none", jobs=2, waiting=3) as site:
        path = site.upload(talk).json()[0]
        results = []
        for number in range(1, 6):
            call = site.call(path)
            assert call.status_code == 200
            results.append(pool.submit(site.result, call))
            wait_until(lambda number=number: busy.running == min(number, 2))
            wait_until(lambda n=number: site.get("/health").json()["waiting"] == max(0, n - 2))
        assert site.call(path).status_code == 503
        assert site.get("/").elapsed.total_seconds() < 1, "the page waits for nobody"
        busy.go.set()
        assert all("event: complete" in result.result() for result in results)
        assert busy.max_running == 2


def test_a_call_during_the_end_of_a_stream_is_answered_after_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the page believes that the old stream is open and never gets its answer."""
    monkeypatch.setattr(guard, "HANG_UP_SECONDS", 30.0)
    number = next(
        function["id"]
        for function in site.get("/config").json()["dependencies"]
        if function["api_name"] == "transcribe"
    )
    ask = {"data": [None, "av", "auto", 5, "auto"], "fn_index": number, "session_hash": "ann"}

    def join(session: str = "ann") -> int:
        call = {**ask, "session_hash": session}
        return site.post("/gradio_api/queue/join", json=call).status_code

    assert join() == 200
    with ThreadPoolExecutor() as pool:
        events = f"{site.address}/gradio_api/queue/data?session_hash=ann"
        with httpx.stream("GET", events, timeout=30) as stream:
            lines = stream.iter_lines()
            assert any("close_stream" in line for line in lines)
            answer = pool.submit(join)
            assert join("ben") == 200, "others do not wait"
            assert not wait([answer], timeout=0.3).done
        assert answer.result() == 200
        with httpx.stream("GET", events, timeout=30) as stream:
            assert any("process_completed" in line for line in stream.iter_lines())


def test_each_address_has_its_own_rate(recognizer: Any, tmp_path: Path, talk: bytes) -> None:
    none = tmp_path / "none"
    with serving(recognizer, none, uploads_per_minute=1, calls_per_minute=1) as site:
        first, second = ({"x-forwarded-for": f"198.51.100.{n}"} for n in (1, 2))
        assert site.upload(talk, headers=first).status_code == 200
        refused = site.upload(talk, headers=first)
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        path = site.upload(talk, headers=second).json()[0]
        codes = [site.call(path, headers=second).status_code for _ in range(2)]
        assert codes == [200, 429]


def test_a_rate_fills_up_again_and_forgets() -> None:
    now = [0.0]
    rate = guard.RateLimit(6, clock=lambda: now[0])
    for _ in range(6):
        rate.take("a")
    with pytest.raises(guard.Refusal) as refused:
        rate.take("a")
    assert refused.value.wait == pytest.approx(10)
    now[0] = 10.0
    rate.take("a")
    for number in range(guard.MAX_ADDRESSES):
        rate.take(str(number))
    now[0] = 100.0
    rate.take("b")
    assert len(rate.left) == 1


@pytest.mark.parametrize(
    ("client", "name"),
    [
        (("192.0.2.7", 5), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 5), "2001:db8:1:2::/64"),
        (None, ""),
        (("unix", 0), "unix"),
    ],
)
def test_clients_are_identified_by_address(client: Any, name: str) -> None:
    assert guard.client_address({"type": "http", "client": client}) == name


def test_only_users_come_in(recognizer: Any, tmp_path: Path, talk: bytes) -> None:
    users = {"ann": "s3cret"}
    with serving(recognizer, tmp_path / "none", users=users, logins_per_minute=3) as site:
        assert site.get("/health").status_code == 200
        for path in ("/config", "/gradio_api/info", "/gradio_api/file=/etc/passwd"):
            assert site.get(path).status_code == 401
        assert site.upload(talk).status_code == 401
        assert site.call(str(site.store.folder / "x")).status_code == 401
        wrong = {"username": "ann", "password": "guess"}
        assert site.post("/login", data=wrong).status_code == 400
        client = gradio_client.Client(
            site.address, auth=("ann", "s3cret"), verbose=False, download_files=str(tmp_path)
        )
        (tmp_path / "talk.mp4").write_bytes(talk)
        file = gradio_client.handle_file(tmp_path / "talk.mp4")
        assert client.predict(file, api_name="/transcribe")[1]["value"]
        codes = [site.post("/login", data=wrong).status_code for _ in range(10)]
        assert set(codes) == {400, 429} or set(codes) == {429}


def test_results_are_in_the_store(site: Site, talk: bytes) -> None:
    events = site.transcribe(talk)
    for path in re.findall(r'"path": "([^"]+)"', events):
        assert Path(path).is_relative_to(site.store.folder)
        assert Path(path).is_file()
    assert "talk.srt" in events
    assert site.store.folder.stat().st_mode & 0o077 == 0, "private"


def test_old_files_are_deleted_but_not_the_examples(
    recognizer: Any, tmp_path: Path, make_clip: Callable[..., Path]
) -> None:
    (tmp_path / "examples").mkdir()
    shutil.copy(make_clip("en.mp4", duration=1.0), tmp_path / "examples")
    with serving(recognizer, tmp_path / "examples", keep_minutes=0.02) as site:
        folder = site.store.folder
        (folder / "aa").mkdir()
        (folder / "aa" / "talk.mp4").write_bytes(b"a")
        wait_until(lambda: not (folder / "aa").exists())
        assert [path.name for path in folder.rglob("*") if path.is_file()] == ["en.mp4"]
    assert not folder.exists()


def test_what_is_used_is_kept(talk: bytes, tmp_path: Path) -> None:
    store = Store(tmp_path, Limits(keep_minutes=0.01))
    (tmp_path / "talk.mp4").unlink()  # of the fixture
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(talk)
    time.sleep(0.7)
    with contextlib.suppress(MediaError):  # longer than that
        check_upload(tmp_path / "b.mp4", Limits(minutes=0.001))
    store.sweep(keep=set())
    assert not (tmp_path / "a.mp4").exists()
    assert (tmp_path / "b.mp4").exists()


def test_nobody_is_called(
    recognizer: Any, tmp_path: Path, talk: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    connect = socket.socket.connect

    def record(self: socket.socket, address: Any) -> None:
        called.append(address[0])
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", record)
    with serving(recognizer, tmp_path / "none") as site:
        site.transcribe(talk)
        page = site.get("/").text
    assert set(called) == {"127.0.0.1"}
    assert not re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="https?:[^"]*"', page)


def test_the_page_knows_where_a_proxy_shows_it(recognizer: Any, tmp_path: Path) -> None:
    listener = bind("127.0.0.1", 0)
    with listener, open_store(Limits()) as store:
        page = build_app(recognizer, tmp_path / "none")
        app = create_app(page, store, root_path="/avsr")
        with Server(app, listener, Limits()) as address:
            headers = {"x-forwarded-proto": "https", "host": "example.org"}
            config = httpx.get(address + "config", headers=headers).json()
    assert config["root"] == "https://example.org/avsr"


def readme_examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


def test_the_readmes_python_example_runs(
    site: Site, talk: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (example,) = (text for text in readme_examples("python") if "gradio_client" in text)
    (tmp_path / "talk.mp4").write_bytes(talk)
    monkeypatch.chdir(tmp_path)
    exec(example.replace("http://127.0.0.1:7860", site.address), {})
    assert "place blue at f two now" in capsys.readouterr().out


def test_the_readmes_curl_example_runs(site: Site, talk: bytes, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    (example,) = (text for text in readme_examples("sh") if "curl" in text and "call/" in text)
    (tmp_path / "talk.mp4").write_bytes(talk)
    script = example.replace("http://127.0.0.1:7860", site.address)
    done = subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "place blue at f two now" in done.stdout


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_server_leaves_nothing_behind(tmp_path: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-c", SERVE]
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(tmp_path)}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, env=environment, cwd=README.parents[1], stdout=pipe, stderr=pipe
    )
    assert process.stdout is not None
    address = process.stdout.readline().decode().strip()
    with httpx.stream("GET", address, timeout=30) as page:
        content = page.iter_bytes()
        assert next(content) == b"here"
        assert os.listdir(tmp_path)
        process.send_signal(how)
        _, complaints = process.communicate(timeout=20)
    assert process.returncode == 0
    assert complaints == b"", "of a page that is still open"
    assert not os.listdir(tmp_path)


SCRIPT = str(README.parent / "app.py")


@pytest.mark.parametrize("command", [["python", SCRIPT], ["gradio", SCRIPT, "--"]])
def test_the_file_of_the_page_starts_it(command: list[str], tmp_path: Path) -> None:
    """From another folder than the repository, with the options of ``avsr demo``."""
    program = Path(sys.executable).with_name(command[0])
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    folder = tmp_path if command[0] == "python" else README.parents[1]  # gradio wants it below
    process = subprocess.Popen(
        [program, *command[1:], "--port", "0"],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # gradio starts a second process
    )
    assert process.stdout is not None
    try:
        line = next(line for line in process.stdout if "avsr is at" in line)
        health = httpx.get(line.split()[3] + "health", timeout=30)
        assert health.json()["status"] == "ok"
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=20)


def test_two_servers_have_two_ports() -> None:
    with bind("127.0.0.1", None) as first, bind("127.0.0.1", None) as second:
        assert first.getsockname() != second.getsockname()


def test_users_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("ann:a:b\n\nbob: c\u2028d\n")  # a line separator is no end of a line
    assert read_users(path) == {"ann": "a:b", "bob": " c\u2028d"}
    for content, message in [("", "names no user"), ("ann:x\nsecret\n", "line 2: must be name:")]:
        path.write_text(content)
        with pytest.raises(ConfigError, match=message) as caught:
            read_users(path)
        assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot read the users"):
        read_users(tmp_path / "missing")


def test_wrong_settings_are_named_before_anything_starts(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text("minuts: 3\n")
    with pytest.raises(ConfigError, match="unknown key 'minuts'; did you mean 'minutes'"):
        main(config=path)
    path.write_text("minutes: 0\njobs: 1.5\nwaiting: many\nkeep_minutes: .inf\n")
    with pytest.raises(AvsrError) as caught:
        main(config=path)
    for problem in ("jobs is 1.5, not a whole", "waiting is 'many', not", "keep_minutes is inf"):
        assert problem in str(caught.value)
    path.write_text("minutes: 0\njobs: 0\n")
    with pytest.raises(AvsrError, match=r"minutes must be a.*jobs must be a"):
        main(config=path)
