"""An honest user of the web page among clients that only take up room.

She uploads a clip and waits for its transcript, alone and while idle connections are open and
requests are abandoned: some are never listened to, some are left after a moment, some come through
the page's button. The turns alternate, so that a busy machine slows both. All have one address, the
worst case. Then several users are active at once, as in the case ``demo``.
"""

import random
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchmarks import demo

SEED = 19
IDLE = 40  # connections without a request, or with half of one
ABANDONED = 100  # requests
AT_ONCE = 50  # that are sent before the user begins; the others come while she waits
FILE = {"_type": "gradio.FileData"}


def measure(runs: int, users: int = 8, seconds: float = 60) -> dict[str, Any]:
    """Return the user's waits in ``runs`` turns, and what ``users`` in ``seconds`` got."""
    alone, besieged = [], []
    with tempfile.TemporaryDirectory() as name, demo.running_server(Path(name)) as (address, _):
        folder = Path(name)
        (clip,) = demo.copy_clips(folder, 1)
        expected = demo.ask_alone(address, folder, clip)
        for run in range(runs):
            alone.append(timed(address, folder, clip, expected))
            with siege(address, clip, random.Random(SEED + run)):
                besieged.append(timed(address, folder, clip, expected))
    result = demo.measure(runs, users, seconds)
    return {
        "case": f"{IDLE} idle connections and {ABANDONED} abandoned requests, seed {SEED}",
        "turns": runs,
        "alone_median_seconds": round(statistics.median(alone), 2),
        "besieged_median_seconds": round(statistics.median(besieged), 2),
        "besieged_slowest_seconds": round(max(besieged), 2),
        "times_as_long": round(statistics.median(besieged) / statistics.median(alone), 2),
        f"{users}_users_right_answers": result["right_answers"],
        f"{users}_users_wrong_answers": result["wrong_answers"],
        f"{users}_users_failures": result["failures"],
    }


def timed(address: str, folder: Path, clip: Path, expected: str) -> float:
    """Transcribe as a new user; return the seconds from her upload to the right answer."""
    client = demo.connect(address, folder)
    try:
        start = time.monotonic()
        if demo.transcribe(client, clip) != (clip.name, expected):
            raise SystemExit("a wrong answer")
        return time.monotonic() - start
    finally:
        client.close()


@contextmanager
def siege(address: str, clip: Path, chance: random.Random) -> Iterator[None]:
    """Keep IDLE connections open, and abandon requests before and during the block."""
    end = threading.Event()
    with ExitStack() as stack, httpx.Client(base_url=address, timeout=60) as client:
        for _ in range(IDLE):
            line = stack.enter_context(connect(address))
            line.sendall(chance.choice([b"", b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: "]))
        content = clip.read_bytes()
        path = client.post("gradio_api/upload", files={"files": ("siege.mp4", content)}).json()[0]
        functions = client.get("config").json()["dependencies"]
        button = next(f["id"] for f in functions if f["api_name"] == "transcribe_on_page")
        model = client.get("config").json()["components"]
        (name,) = (c["props"]["value"] for c in model if c["props"].get("elem_id") == "model")
        values = [{"path": path, "meta": FILE}, "av", "auto", 5, "auto"]

        def abandon() -> None:
            if chance.random() < 1 / 3:
                session = f"{chance.random()}"
                call = {"data": [*values, name], "fn_index": button, "session_hash": session}
                client.post("gradio_api/queue/join", json=call).raise_for_status()
                listen(address, f"queue/data?session_hash={session}")
                return
            answer = client.post("gradio_api/call/transcribe", json={"data": values})
            answer.raise_for_status()
            if chance.random() < 0.5:
                listen(address, f"call/transcribe/{answer.json()['event_id']}")

        def go_on() -> None:
            for _ in range(ABANDONED - AT_ONCE):
                if end.wait(0.02):
                    return
                abandon()

        for _ in range(AT_ONCE):
            abandon()
        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()


def connect(address: str) -> socket.socket:
    """Open a connection to the server."""
    where = urlsplit(address)
    return socket.create_connection((where.hostname or "", where.port or 80), 60)


def listen(address: str, path: str) -> None:
    """Begin to listen for a result, and leave."""
    with connect(address) as line:
        line.sendall(f"GET /gradio_api/{path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        time.sleep(0.05)
