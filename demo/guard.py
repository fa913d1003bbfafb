"""The door of the server: which requests come in, from whom, how often and how large.

Gradio brings more doors than this page needs: one that fetches any public address for a visitor,
one that edits videos, one that runs functions past the queue. What is not listed here is not there.
"""

import asyncio
import contextlib
import ipaddress
import json
import math
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demo.store import Store

READ = re.compile(
    r"/|/(health|config|theme\.css|favicon\.ico|robots\.txt|manifest\.json|logout)/?"
    r"|/(static|assets|svelte)/.+"
    r"|/gradio_api/(info|openapi\.json|app_id|user|login_check|token|startup-events|theme\.css)/?"
    r"|/gradio_api/(queue/status|upload_progress)/?"
    r"|/gradio_api/(call|heartbeat)/.+"
    r"|/gradio_api/file=(?![A-Za-z][A-Za-z0-9+.-]*:).+"  # but no address: it would be fetched
)
EVENTS = re.compile(r"/gradio_api/queue/data/?")
LOGIN = re.compile(r"/login/?")
UPLOAD = re.compile(r"/gradio_api/upload/?")
CALL = re.compile(r"/gradio_api/(queue/join/?|call/.+)")
STOP = re.compile(r"/gradio_api/(cancel|reset)/?")

MOST_TEXT = 4_000_000  # bytes of a request that is no upload
ENVELOPE = 100_000  # bytes of an upload that are not the file's
STALLED = 60.0  # s without a byte, after which an upload is given up
MOST_ADDRESSES = 10_000  # remembered by a rate
END = b'"msg":"close_stream"'  # in the last event of a stream; quotes within a text are escaped
HANGING_UP = 2.0  # s that a page may take after it, before it is thought not to

# The browser gets everything from this server, and nobody else is told of the visit.
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
        "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; frame-ancestors 'self'"
    ),
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


class Refusal(Exception):  # noqa: N818  (an answer, not a fault)
    """An HTTP status and one line; ``wait`` are the seconds after which to try again."""

    def __init__(self, status: int, reason: str, wait: float = 0) -> None:
        super().__init__(reason)
        self.status, self.reason, self.wait = status, reason, wait

    def answer(self) -> JSONResponse:
        headers = {"retry-after": str(math.ceil(self.wait))} if self.wait else None
        return JSONResponse({"detail": self.reason, "error": self.reason}, self.status, headers)


class Rate:
    """So many a minute for each address; unused ones are saved up for one minute at most."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self.clock = clock
        self.left: dict[str, tuple[float, float]] = {}  # address -> what it had left, and when

    def take(self, address: str) -> None:
        """Take one, or raise Refusal where there is none left."""
        now = self.clock()
        saved, then = self.left.get(address, (float(self.per_minute), now))
        saved = min(self.per_minute, saved + (now - then) * self.per_minute / 60)
        taken = saved >= 1
        self.left[address] = (saved - taken, now)
        if len(self.left) > MOST_ADDRESSES:  # whoever was not here for a minute has all again
            self.left = {key: value for key, value in self.left.items() if now - value[1] < 60}
        if not taken:
            reason = "too many requests from your address: wait a little"
            raise Refusal(429, reason, wait=(1 - saved) * 60 / self.per_minute)


class Guard:
    """ASGI middleware before an app that keeps uploads and results in ``store``."""

    def __init__(self, app: ASGIApp, store: Store) -> None:
        self.app = app
        self.store = store
        self.limits = limits = store.limits
        self.uploads = Rate(limits.uploads_per_minute)
        self.calls = Rate(limits.calls_per_minute)
        self.logins = Rate(limits.logins_per_minute)
        self.under_way = 0  # uploads
        self.promised = 0  # bytes that they may have
        self.ending: dict[str, asyncio.Event] = {}  # streams, by session: whether the end was heard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http":
            await self.app(scope, receive, send)
        else:
            send = _with_headers(send)
            try:
                await self._admit(scope, receive, send)
            except Refusal as refusal:
                await refusal.answer()(scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method, address = scope["path"], scope["method"], visitor(scope)
        if method in ("GET", "HEAD") and READ.fullmatch(path):
            await self.app(scope, receive, send)
        elif method == "GET" and EVENTS.fullmatch(path):
            await self._stream(scope, receive, send)
        elif method == "POST" and UPLOAD.fullmatch(path):
            self.uploads.take(address)
            await self._upload(scope, receive, send)
        elif method == "POST" and CALL.fullmatch(path):
            self.calls.take(address)
            await self._call(scope, receive, send)
        elif method == "POST" and LOGIN.fullmatch(path):
            self.logins.take(address)
            await self._call(scope, receive, send)
        elif method == "POST" and STOP.fullmatch(path):
            await self._call(scope, receive, send)
        else:
            raise Refusal(404, "there is nothing here")

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let an upload in if it is small enough and there is room for it."""
        most = self.limits.upload_bytes + ENVELOPE
        announced = Headers(scope=scope).get("content-length", "")
        size = int(announced) if announced.isdecimal() else most
        too_large = Refusal(413, f"a file may have at most {self.limits.upload_megabytes:g} MB")
        if size > most:
            raise too_large
        self.under_way += 1
        self.promised += size
        try:
            if self.under_way > self.limits.uploads_at_once:
                raise Refusal(503, "too many uploads at once: try again in a minute", wait=60)
            if await asyncio.to_thread(self.store.size) + self.promised > self.limits.store_bytes:
                raise Refusal(503, "the server has no room for more files: try later", wait=600)
            body = _Body(receive, send, most)
            try:
                await self.app(scope, body.receive, body.send)
            except Exception:
                if not body.broken_off:
                    raise
            if body.broken_off and not body.answered:
                raise too_large if body.too_large else Refusal(408, "the upload has stalled")
        finally:
            self.under_way -= 1
            self.promised -= size

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a call in if it is short and names only files of the store."""
        content, more = b"", True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            content += message.get("body", b"")
            more = message.get("more_body", False)
            if len(content) > MOST_TEXT:
                raise Refusal(413, "the request is too long")
        if names_elsewhere(content, self.store.folder):
            raise Refusal(400, "upload the file first: nothing else can be read")
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": content, "more_body": False}

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and self.ending:
                await self._until_heard(content)
            await send(message)

        await self.app(scope, replay, answer)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The events of a session, whose stream gradio ends as soon as none is awaited.

        A page that asks for something just before it hears of the end takes the old stream for
        open and waits for ever. So whoever asks meanwhile is answered when it was heard, which
        shows in the page's hanging up.
        """
        query = parse_qs(scope["query_string"].decode("latin-1"))
        session = query.get("session_hash", [""])[0]
        heard = asyncio.Event()
        held: list[Message] = []

        async def pass_on(message: Message) -> None:
            if held or END in message.get("body", b""):
                self.ending[session] = heard
                held.append(message)
            else:
                await send(message)

        try:
            await self.app(scope, receive, pass_on)
            if held:
                await send({**held[0], "more_body": True})
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(_hung_up(receive), HANGING_UP)
                await send({"type": "http.response.body"})
        finally:
            heard.set()
            if self.ending.get(session) is heard:
                del self.ending[session]

    async def _until_heard(self, content: bytes) -> None:
        """Wait while a call's session has a stream that ends."""
        with contextlib.suppress(ValueError):
            call = json.loads(content)
            heard = self.ending.get(str(call.get("session_hash")) if isinstance(call, dict) else "")
            if heard is not None:
                await heard.wait()


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Body:
    """An upload on its way in: broken off where it gets too large or nothing more comes."""

    def __init__(self, receive: Receive, send: Send, most: int) -> None:
        self._receive, self._send, self._left = receive, send, most
        self._complete = False
        self.too_large = self.broken_off = self.answered = False

    async def receive(self) -> Message:
        if self._complete:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), STALLED)
        except TimeoutError:
            self.broken_off = True
            return {"type": "http.disconnect"}
        self._left -= len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._left < 0:
            self.too_large = self.broken_off = True
            return {"type": "http.disconnect"}
        return message

    async def send(self, message: Message) -> None:
        """Pass the answer on, unless it is about the upload that was broken off here."""
        if not self.broken_off or self.answered:
            self.answered = True
            await self._send(message)


def visitor(scope: Scope) -> str:
    """The address that a request comes from; of IPv6 the part that one household has."""
    host = (scope.get("client") or ("", 0))[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return host
    return str(ipaddress.ip_network((int(address), 64), strict=False))


def names_elsewhere(content: bytes, folder: Path) -> bool:
    """Whether a call's JSON has a file whose ``path`` is not in ``folder``.

    Gradio would copy a file of this machine to where it can be read by all, or fetch an address.
    """
    try:
        nodes = [json.loads(content)]
    except RecursionError:
        return True  # nested to do harm
    except ValueError:
        return False  # a form, or for gradio to refuse
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            path = node.get("path")
            if isinstance(path, str) and not Path(os.path.abspath(path)).is_relative_to(folder):
                return True
            nodes.extend(node.values())
        elif isinstance(node, list):
            nodes.extend(node)
    return False


def _with_headers(send: Send) -> Send:
    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return add
