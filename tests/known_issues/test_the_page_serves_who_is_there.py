"""One client could keep all others off the page.

Idle connections took the places of visitors, requests of clients that had left were worked off,
half of gradio's addresses answered without a login, wrong types ended in null or in fifty lines of
log, and messages showed folders of the server.
"""

import asyncio
import contextlib
import dataclasses
import json
import logging
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import gradio_client
import httpx
import pytest
from gradio.routes import App

from demo import bodies, connections, guard, listeners
from demo.guard import Refusal, Share
from demo.limits import Limits, hide_folder
from demo.store import Store
from tests.demo.conftest import FakeRecognizer
from tests.demo.test_server import FILE, TLS, Site, serving, wait_until

WAIT = 30  # s, for an answer


class Recorder:
    """A recognizer that works in small steps until ``go`` is set, and notes what it did."""

    languages = ("ar", "en")

    def __init__(self) -> None:
        self.recognizer = FakeRecognizer()
        self.go = threading.Event()
        self.begun: list[str] = []
        self.done: list[str] = []

    def transcribe(self, path: str, *, progress: Any, **options: Any) -> Any:
        name = Path(path).name
        self.begun.append(name)
        while not self.go.wait(0.02):
            progress(0.0, 1.0, "reading the lips")  # raises if the job is to stop
        result = self.recognizer.transcribe(path, progress=progress, **options)
        self.done.append(name)
        return result


@pytest.fixture(scope="module")
def _siege(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Recorder]]:
    recorder = Recorder()
    with serving(
        recorder,
        tmp_path_factory.mktemp("none"),
        connections=20,
        waiting=5,
        uploads_per_minute=10_000,
        calls_per_minute=10_000,
    ) as site:
        yield site, recorder


@pytest.fixture
def recorder(_siege: tuple[Site, Recorder]) -> Recorder:
    _siege[1].go.clear()
    _siege[1].begun.clear()
    _siege[1].done.clear()
    return _siege[1]


@pytest.fixture
def site(_siege: tuple[Site, Recorder], recorder: Recorder) -> Site:
    return _siege[0]


@pytest.fixture
def talk(make_clip: Callable[..., Path]) -> bytes:
    return make_clip("talk.mp4").read_bytes()


def connect(site: Site) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(site.address.rpartition(":")[2])), WAIT)


def is_closed(line: socket.socket) -> bool:
    """Whether the server has closed a connection, which it does without a word."""
    try:
        return line.recv(1) == b""
    except ConnectionResetError:
        return True


# Connections


@pytest.mark.parametrize("beginning", [b"", b"GET /health HTTP/1.1\r\nx-slow: "])
def test_idle_connections_take_nobodys_place(site: Site, beginning: bytes) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(40):  # twice as many as may be open
            line = stack.enter_context(connect(site))
            line.sendall(beginning)
        answers = [site.get("/config") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200] * 3


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\nhost: x\r\n",
        b"GET /health HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\na",
        b"POST /gradio_api/call/transcribe HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\na",
        b"POST /gradio_api/upload HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n"
        b"content-type: multipart/form-data; boundary=x\r\n\r\n--x\r\n",
    ],
)
def test_a_request_that_does_not_end_is_ended(
    site: Site, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.3)
    monkeypatch.setattr(bodies, "STALL_SECONDS", 0.3)
    with connect(site) as line:
        line.sendall(sent)
        answer = b""
        while not is_closed(line):  # reads one byte
            with contextlib.suppress(ConnectionResetError):
                answer += line.recv(1000)
    if b"POST" in sent:
        assert b" 408 " in answer or b"08 Request" in answer


def test_a_slow_upload_is_ended_though_bytes_come_in() -> None:
    async def drip() -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"a" * 20, "more_body": True}

    async def upload() -> int:
        body, count = bodies.UploadBody(drip, None, 10**9), 0  # type: ignore[arg-type]
        while (await body.receive())["type"] == "http.request":
            count += 1
            assert count < 1000
        assert body.cut_off
        assert not body.too_large
        return count

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "STALL_SECONDS", 0.2)
        assert asyncio.run(upload()) > 1


def test_one_address_has_half_of_the_places() -> None:
    share = Share(4, "too many requests at once", "busy")
    with contextlib.ExitStack() as stack:
        for address in ("a", "a", "b"):
            stack.enter_context(share.take(address))
        with pytest.raises(Refusal, match="from your address") as refused, share.take("a"):
            pass
        assert refused.value.status == 429
        stack.enter_context(share.take("c"))
        with pytest.raises(Refusal, match="busy") as refused, share.take("d"):
            pass
        assert refused.value.status == 503
    assert share.taken == Counter()


# Jobs whose clients are not there


def number_of(site: Site, name: str) -> int:
    """The number of a function of the page."""
    functions = site.get("/config").json()["dependencies"]
    return next(function["id"] for function in functions if function["api_name"] == name)


def join_page(site: Site, path: str, number: int, session: str) -> None:
    """Press the page's button, as a browser does that leaves at once."""
    data = [{"path": path, "meta": FILE}, "av", "auto", 5, "auto", "tiny"]
    call = {"data": data, "fn_index": number, "session_hash": session}
    assert site.post("/gradio_api/queue/join", json=call).status_code == 200


def listen(site: Site, call: httpx.Response) -> socket.socket:
    """Begin to listen for the result of a call."""
    line = connect(site)
    path = f"/gradio_api/call/transcribe/{call.json()['event_id']}"
    line.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    return line


@pytest.mark.parametrize("how", ["never listened", "left", "page"])
def test_nothing_is_done_for_who_is_not_there(
    site: Site, recorder: Recorder, talk: bytes, how: str
) -> None:
    path = site.upload(talk, "abandoned.mp4").json()[0]
    button = number_of(site, "transcribe_on_page")
    for number in range(15):  # three times as many as may wait
        if how == "page":
            join_page(site, path, button, f"session-{number}")
            continue
        call = site.call(path)
        assert call.status_code == 200
        if how == "left":
            listen(site, call).close()
    own = site.upload(talk, "own.mp4").json()[0]
    with ThreadPoolExecutor() as pool:
        result = pool.submit(site.result, site.call(own))
        wait_until(lambda: "own.mp4" in recorder.begun)
        recorder.go.set()
        assert "event: complete" in result.result()
    assert recorder.done == ["own.mp4"]
    assert how == "left" or recorder.begun == ["own.mp4"]
    assert site.get("/health").json()["waiting"] == 0


def test_a_job_stops_and_its_file_goes_when_its_listener_leaves(
    site: Site, recorder: Recorder, talk: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = site.upload(talk, "left.mp4").json()[0]
    with listen(site, site.call(path)):
        wait_until(lambda: recorder.begun == ["left.mp4"])
    own = site.upload(talk, "own.mp4").json()[0]
    with ThreadPoolExecutor() as pool:
        result = pool.submit(site.result, site.call(own))
        wait_until(lambda: recorder.begun == ["left.mp4", "own.mp4"])
        recorder.go.set()
        assert "event: complete" in result.result()
    assert recorder.done == ["own.mp4"]
    assert Path(path).is_file(), "its visitor may come back"
    monkeypatch.setattr("demo.store.ABANDONED_SECONDS", 0.0)
    time.sleep(0.02)  # a step of the file system's clock
    site.store.sweep(set())
    assert not Path(path).exists()
    assert Path(own).is_file()
    gone = site.call(path)
    assert gone.status_code == 400
    assert gone.json()["detail"] == "the uploaded file has been deleted: upload it again"


def test_requests_that_nobody_listens_to_are_forgotten(
    site: Site, recorder: Recorder, talk: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "MAX_UNHEARD", 2)
    recorder.go.set()
    path = site.upload(talk).json()[0]
    calls = [site.call(path) for _ in range(3)]
    assert "event: complete" in site.result(calls[2])
    assert "event: complete" in site.result(calls[1])
    assert "there is no such request" in site.result(calls[0])
    calls = [site.call(path)]
    monkeypatch.setattr(listeners, "UNHEARD_SECONDS", 0.0)
    site.call(path)
    assert "there is no such request" in site.result(calls[0])


def test_a_full_queue_of_programs_does_not_stop_the_page(
    site: Site, recorder: Recorder, talk: bytes
) -> None:
    path = site.upload(talk).json()[0]
    with ThreadPoolExecutor() as pool:
        results = [pool.submit(site.result, site.call(path)) for _ in range(6)]
        wait_until(lambda: site.get("/health").json()["waiting"] == 5)
        late = site.call(path)
        assert late.status_code == 503
        assert "too many videos are waiting" in late.json()["detail"]
        join_page(site, path, number_of(site, "transcribe_on_page"), "ann")
        recorder.go.set()
        assert all("event: complete" in result.result() for result in results)


# Login


def test_everything_but_health_and_login_needs_a_login(tmp_path: Path) -> None:
    with serving(FakeRecognizer(), tmp_path / "none", users={"ann": "s3cret"}) as site:
        assert site.get("/health").status_code == 200
        page = site.get("/")
        assert "<h1>Log in</h1>" in page.text
        assert "transcribe" not in page.text, "nothing of the page or its interface is told"
        cookies = site.post("/login", data={"username": "ann", "password": "s3cret"}).cookies
        stranger = httpx.Client(base_url=site.address, timeout=WAIT, verify=TLS)
        user = httpx.Client(base_url=site.address, timeout=WAIT, verify=TLS, cookies=cookies)
        with stranger, user:
            schema = user.get("/gradio_api/openapi.json").json()
            for path in {*schema["paths"], *_gradio_paths()} - {"/", "/login", "/login/"}:
                for method in ("GET", "POST"):
                    assert stranger.request(method, path).status_code == 401, (method, path)
            for path in ("/config", "/theme.css", "/gradio_api/info", "/gradio_api/app_id"):
                assert user.get(path).status_code == 200
            assert "transcribe" in user.get("/").text
            assert user.get("/logout").status_code == 302
            user.cookies = httpx.Cookies(cookies)
            assert user.get("/config").status_code == 401


def _gradio_paths() -> set[str]:
    """Every address that gradio has, with a word for each of its parameters."""
    with gr.Blocks() as blocks:
        pass
    routes = App.create_app(blocks).routes
    paths = {getattr(route, "path", "/") for route in routes}
    for route in routes:  # of an included router
        for inner in getattr(getattr(route, "original_router", None), "routes", []):
            paths.add(getattr(inner, "path", "/"))
    return {re.sub(r"{[^}]*}", "x", path) for path in paths}


# Wrong types


WRONG: list[Any] = [None, True, 7, 2.5, "x", "", "a\0", [], [[1]], {}, {"path": 5}, "a" * 5000]


@pytest.mark.parametrize("field", ["video", "modality", "language", "beam_size", "face"])
def test_a_value_of_a_wrong_type_is_named(
    site: Site, recorder: Recorder, talk: bytes, field: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = site.upload(talk).json()[0]
    settings = {
        "video": {"path": path, "meta": FILE},
        "modality": "av",
        "language": "auto",
        "beam_size": 5,
        "face": "auto",
    }
    for value in WRONG:
        if (field, value) in (("video", None), ("beam_size", 7)):
            continue  # right, or asked for in words
        changed = {**settings, field: value}
        for call in (
            site.post("/gradio_api/call/v2/transcribe", json=changed),
            site.post("/gradio_api/call/transcribe", json={"data": list(changed.values())}),
        ):
            assert call.status_code == 422, value
            (wrong,) = (entry for entry in call.json()["detail"] if not entry["is_valid"])
            assert wrong["message"].startswith(f"{field} must be ")
            assert len(call.text) < 1000
    assert not recorder.begun
    assert not caplog.records


def test_a_program_is_told_what_is_wrong(site: Site, recorder: Recorder, tmp_path: Path) -> None:
    client = gradio_client.Client(site.address, verbose=False, download_files=str(tmp_path))
    with pytest.raises(ValueError, match="language must be one of 'auto', 'ar', 'en', not 5"):
        client.predict(None, "av", 5, api_name="/transcribe")


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (path, content)
        for path in ("call/transcribe", "call/v2/transcribe", "call/none", "queue/join", "cancel")
        for content in ("", "null", "5", "[]", "{}", "{", '{"data": 5}', '{"data": []}', "[" * 9999)
    ],
)
def test_a_request_of_a_wrong_form_gets_a_reason(
    site: Site, path: str, content: str, capfd: pytest.CaptureFixture[str], caplog: Any
) -> None:
    with caplog.at_level(logging.WARNING):
        answer = site.post(
            f"/gradio_api/{path}", content=content, headers={"content-type": "application/json"}
        )
    assert 400 <= answer.status_code < 500
    assert answer.json()["detail"]
    assert len(answer.text) < 500
    assert len(caplog.records) <= 1
    assert not any(record.exc_info for record in caplog.records)
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("number", [None, -1, 10**9, "x", 1.5, [], {}])
def test_a_function_that_does_not_exist_is_named(site: Site, number: Any) -> None:
    call = {"data": [], "fn_index": number, "session_hash": "ben"}
    answer = site.post("/gradio_api/queue/join", json=call)
    assert 400 <= answer.status_code < 500
    assert "fn_index" in answer.text or "there is no function" in answer.text


@pytest.mark.parametrize("event", [None, {}, {"time": "x", "index": "x"}, {"time": 1, "index": 1}])
def test_an_event_without_a_result_gets_a_reason(
    site: Site,
    event: Any,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "HANG_UP_SECONDS", 0.05)
    for function in site.get("/config").json()["dependencies"]:
        if function["api_name"] not in ("show_closeup", "correct_word"):
            continue
        call = {"data": [None], "fn_index": function["id"], "session_hash": "ben"}
        site.post("/gradio_api/queue/join", json={**call, "event_data": event})
        events = site.get("/gradio_api/queue/data?session_hash=ben").text
        assert "Transcribe a video first." in events
    assert "Traceback" not in "".join(capfd.readouterr())


# Folders of the server


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/tmp/x/a b/talk.mp4: is cut", "talk.mp4: is cut"),
        ("cannot read /srv/models/es/config.json", "cannot read config.json"),
        ("'/srv/models/es' and \"/etc/x/y\"", "'es' and \"y\""),
        ("see https://example.org/a/b, 30 km/h, and/or 1/2/3", None),
    ],
)
def test_messages_have_no_folders(text: str, shown: str | None) -> None:
    assert hide_folder(text, "/tmp/x/a b/talk.mp4") == (text if shown is None else shown)


def test_warnings_and_errors_have_the_files_own_name(
    site: Site, recorder: Recorder, talk: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    transcribe = FakeRecognizer.transcribe

    def warn(self: Any, path: str, **options: Any) -> Any:
        result = transcribe(self, path, **options)
        return dataclasses.replace(result, warnings=(f"{path}: the sound ends early",))

    recorder.go.set()
    monkeypatch.setattr(FakeRecognizer, "transcribe", warn)
    events = site.transcribe(talk, "my talk.mp4")
    assert "my talk.mp4: the sound ends early" in events
    recorder.recognizer.error = "is broken"
    monkeypatch.setattr(FakeRecognizer, "transcribe", transcribe)
    events = site.transcribe(talk, "my talk.mp4")
    recorder.recognizer.error = ""
    assert json.loads(events.partition("data: ")[2])["error"] == "my talk.mp4: is broken"


def test_an_abandoned_file_that_is_asked_for_again_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path, Limits())
    path = tmp_path / "talk.mp4"
    path.write_bytes(b"a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("demo.store.ABANDONED_SECONDS", 0.0)
        store.abandon([str(path)])
        store.claim([str(path)])
        time.sleep(0.02)
        assert store.sweep(set()) == 0
        store.abandon([str(path)])
        assert store.sweep(set()) == 1
