"""Middleware that decides which requests reach gradio: path, rate, size and file names.

Gradio serves more than this page needs: it can fetch any public address for a visitor, edit videos,
and run functions without the queue. Only the paths listed here are served; all others answer 404.
"""

import asyncio
import contextlib
import ipaddress
import json
import logging
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demo.bodies import UploadBody, is_object, names_file_outside
from demo.listeners import ListenerQueue
from demo.store import Store

READ_PATHS = re.compile(
    r"/|/(health|config|theme\.css|favicon\.ico|robots\.txt|manifest\.json|logout)/?"
    r"|/(static|assets|svelte)/.+"
    r"|/gradio_api/(info|openapi\.json|app_id|user|login_check|token|startup-events|theme\.css)/?"
    r"|/gradio_api/(queue/status|upload_progress)/?"
    r"|/gradio_api/heartbeat/[^/]+/?"
    r"|/gradio_api/file=(?![A-Za-z][A-Za-z0-9+.-]*:).+"  # a file, not a URL: gradio would fetch it
)
EVENTS_PATH = re.compile(r"/gradio_api/(queue/data|call/(v2/)?[^/]+/(?P<event>[^/]+))/?")
LOGIN_PATH = re.compile(r"/login/?")
HEALTH_PATH = re.compile(r"/health/?")
UPLOAD_PATH = re.compile(r"/gradio_api/upload/?")
CALL_PATHS = re.compile(r"/gradio_api/(queue/join/?|call/.+)")
STOP_PATHS = re.compile(r"/gradio_api/(cancel|reset)/?")

MAX_CALL_BYTES = 100_000  # size of a request that is not an upload
FORM_BYTES = 100_000  # parts of an upload that do not belong to the file
BODY_SECONDS = 20.0  # for the whole body of a request that is not an upload
MAX_ADDRESSES = 10_000  # that a rate limit remembers
# In the last event of a stream; quotes inside a text are escaped, so it cannot occur elsewhere.
END_OF_STREAM = b'"msg":"close_stream"'
HANG_UP_SECONDS = 2.0  # to wait for the page to close its side of an ended stream

LOGIN_PAGE = (Path(__file__).parent / "login.html").read_text("utf-8")
logger = logging.getLogger(__name__)

# The browser loads everything from this server and sends no referrer to other sites.
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


class Refusal(Exception):  # noqa: N818  (an answer, not an error)
    """An HTTP error status with one line of text."""

    def __init__(self, status: int, reason: str, wait: float = 0) -> None:
        """``wait`` is the time in seconds after which to try again; 0: not known."""
        super().__init__(reason)
        self.status, self.reason, self.wait = status, reason, wait

    def answer(self) -> JSONResponse:
        headers = {"retry-after": str(math.ceil(self.wait))} if self.wait else None
        return JSONResponse({"detail": self.reason, "error": self.reason}, self.status, headers)


class RateLimit:
    """A number of requests per minute for each address; up to one minute's worth is saved up."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self.clock = clock
        self.left: dict[str, tuple[float, float]] = {}  # address -> requests left, at what time

    def take(self, address: str) -> None:
        """Count one request of an address, or raise Refusal if it has none left."""
        now = self.clock()
        left, last_time = self.left.get(address, (float(self.per_minute), now))
        left = min(self.per_minute, left + (now - last_time) * self.per_minute / 60)
        allowed = left >= 1
        self.left[address] = (left - allowed, now)
        if len(self.left) > MAX_ADDRESSES:  # after a minute without requests all are left again
            self.left = {key: value for key, value in self.left.items() if now - value[1] < 60}
        if not allowed:
            reason = "too many requests from your address: wait a little"
            raise Refusal(429, reason, wait=(1 - left) * 60 / self.per_minute)


class Share:
    """Places for requests in progress; one address has at most half of them."""

    def __init__(self, places: int, own_reason: str, reason: str) -> None:
        """The reasons are those of refusals: half is used by one address, or all by everybody."""
        self.places = places
        self.own_reason, self.reason = own_reason, reason
        self.taken: Counter[str] = Counter()  # address -> places

    @contextlib.contextmanager
    def take(self, address: str) -> Iterator[None]:
        """Take a place for a while, or raise Refusal if none is left."""
        if self.taken.total() >= self.places:
            raise Refusal(503, self.reason, wait=60)
        if self.taken[address] >= max(1, self.places // 2):
            raise Refusal(429, f"{self.own_reason} from your address: wait a little", wait=10)
        self.taken[address] += 1
        try:
            yield
        finally:
            self.taken[address] -= 1
            if not self.taken[address]:
                del self.taken[address]


class Guard:
    """ASGI middleware in front of an app whose uploads and results are in ``store``."""

    def __init__(
        self,
        app: ASGIApp,
        store: Store,
        queue: ListenerQueue,
        is_user: Callable[[Scope], bool] | None = None,
    ) -> None:
        """``is_user`` tells whether a request comes from somebody logged in; None: no login."""
        self.app = app
        self.store = store
        self.queue = queue
        self.is_user = is_user
        self.limits = limits = store.limits
        self.uploads = RateLimit(limits.uploads_per_minute)
        self.calls = RateLimit(limits.calls_per_minute)
        self.logins = RateLimit(limits.logins_per_minute)
        busy = "the server is busy: try again in a minute"
        self.requests = Share(limits.connections, "too many requests at once", busy)
        busy = "too many uploads at once: try again in a minute"
        self.slots = Share(limits.uploads_at_once, "too many uploads at once", busy)
        self.reserved_bytes = 0  # for uploads in progress
        self.ending: dict[str, asyncio.Event] = {}  # session -> set when its stream is closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http":
            await self.app(scope, receive, send)
        else:
            answer = _Answer(send)
            try:
                if HEALTH_PATH.fullmatch(scope["path"]):
                    await self._admit(scope, receive, answer.send)
                else:
                    with self.requests.take(client_address(scope)):
                        await self._admit(scope, receive, answer.send)
            except Refusal as refusal:
                await refusal.answer()(scope, receive, answer.send)
            except Exception as error:
                if answer.has_begun:
                    raise
                # Gradio trusts the form of requests, and would log fifty lines about each.
                name, path = type(error).__name__, scope["path"][:100]
                logger.warning("%s %r cannot be answered: %s", scope["method"], path, name)
                answer.is_broken = False
                wrong = Refusal(400, "the request has a wrong form: see /gradio_api/info")
                await wrong.answer()(scope, receive, answer.send)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method, address = scope["path"], scope["method"], client_address(scope)
        if "\0" in path:
            raise Refusal(404, "there is nothing here")
        if self.is_user is not None and not self._is_open(path, method) and not self.is_user(scope):
            if path != "/" or method not in ("GET", "HEAD"):
                raise Refusal(401, "log in first")
            await HTMLResponse(LOGIN_PAGE)(scope, receive, send)
        elif method in ("GET", "HEAD") and READ_PATHS.fullmatch(path):
            await self.app(scope, receive, send)
        elif method == "GET" and (match := EVENTS_PATH.fullmatch(path)):
            await self._stream(scope, receive, send, match["event"])
        elif method == "POST" and UPLOAD_PATH.fullmatch(path):
            self.uploads.take(address)
            with self.slots.take(address):
                await self._upload(scope, receive, send)
        elif method == "POST" and CALL_PATHS.fullmatch(path):
            self.calls.take(address)
            await self._call(scope, receive, send)
        elif method == "POST" and LOGIN_PATH.fullmatch(path):
            self.logins.take(address)
            await self._call(scope, receive, send)
        elif method == "POST" and STOP_PATHS.fullmatch(path):
            await self._call(scope, receive, send)
        else:
            raise Refusal(404, "there is nothing here")

    @staticmethod
    def _is_open(path: str, method: str) -> bool:
        """Whether a request needs no login: of health, or to log in."""
        return bool(
            (method in ("GET", "HEAD") and HEALTH_PATH.fullmatch(path))
            or (method == "POST" and LOGIN_PATH.fullmatch(path))
        )

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an upload on if it is small enough and the store has room for it."""
        max_bytes = self.limits.upload_bytes + FORM_BYTES
        length = Headers(scope=scope).get("content-length", "")
        size = int(length) if length.isdecimal() else max_bytes
        too_large = Refusal(413, f"a file may have at most {self.limits.upload_megabytes:g} MB")
        if size > max_bytes:
            raise too_large
        self.reserved_bytes += size
        try:
            stored = await asyncio.to_thread(self.store.size)
            if stored + self.reserved_bytes > self.limits.store_bytes:
                raise Refusal(503, "the server has no room for more files: try later", wait=600)
            body = UploadBody(receive, send, max_bytes)
            try:
                await self.app(scope, body.receive, body.send)
            except Exception:
                if not body.cut_off:
                    raise
            if body.cut_off and not body.answered:
                raise too_large if body.too_large else Refusal(408, "the upload is too slow")
        finally:
            self.reserved_bytes -= size

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on if it is short and names only files of the store."""
        try:
            content = await asyncio.wait_for(_read(receive), BODY_SECONDS)
        except TimeoutError:
            raise Refusal(408, "the request did not come to its end in time") from None
        if content is None:
            return
        if CALL_PATHS.fullmatch(scope["path"]) and not is_object(content):
            raise Refusal(400, "the request must be a JSON object")
        if names_file_outside(content, self.store.folder):
            raise Refusal(400, "upload the file first: nothing else can be read")
        replayed = False

        async def replay() -> Message:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": content, "more_body": False}

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and self.ending:
                await self._wait_until_closed(content)
            await send(message)

        await self.app(scope, replay, answer)

    async def _stream(
        self, scope: Scope, receive: Receive, send: Send, event_id: str | None
    ) -> None:
        """Pass on the events of a session, and hold back calls while its stream closes.

        ``event_id`` is that of a call of a program; None: the query has the session.

        Gradio ends the stream as soon as no event is awaited. A page that sends a call just before
        it receives that end believes that the old stream is still open and waits for ever. So calls
        of the session are answered after the page has closed its side of the stream.
        """
        session: str | None
        if event_id is None:
            query = parse_qs(scope["query_string"].decode("latin-1"))
            session = query.get("session_hash", [""])[0]
        else:
            session = self.queue.find_session(event_id)
        if not session:
            raise Refusal(404, "there is no such request: it is done, or waited too long for you")
        if self.queue.must_refuse(session):
            raise Refusal(503, "too many videos are waiting: try again in a while", wait=60)
        with self.queue.listening(session) as end:
            await self._pass_events(scope, receive, send, session, end)

    async def _pass_events(
        self, scope: Scope, receive: Receive, send: Send, session: str, end: Callable[[], None]
    ) -> None:
        """Pass on the events of a session; call ``end`` when its stream ends by itself."""
        closed = asyncio.Event()
        held_back: list[Message] = []

        async def pass_on(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                end()
            if held_back or END_OF_STREAM in message.get("body", b""):
                self.ending[session] = closed
                held_back.append(message)
            else:
                await send(message)

        try:
            await self.app(scope, receive, pass_on)
            if held_back:
                await send({**held_back[0], "more_body": True})
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(_disconnected(receive), HANG_UP_SECONDS)
                await send({"type": "http.response.body"})
        finally:
            closed.set()
            if self.ending.get(session) is closed:
                del self.ending[session]

    async def _wait_until_closed(self, content: bytes) -> None:
        """Wait while the stream of a call's session is closing."""
        with contextlib.suppress(ValueError):
            call = json.loads(content)
            session = call.get("session_hash") if isinstance(call, dict) else ""
            closed = self.ending.get(str(session))
            if closed is not None:
                await closed.wait()


async def _read(receive: Receive) -> bytes | None:
    """The body of a short request; None if the client left before its end."""
    content, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        content += message.get("body", b"")
        more = message.get("more_body", False)
        if len(content) > MAX_CALL_BYTES:
            raise Refusal(413, "the request is too long")
    return content


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def client_address(scope: Scope) -> str:
    """The address that a request comes from; for IPv6 its /64 network, which one household has."""
    host = (scope.get("client") or ("", 0))[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return host
    return str(ipaddress.ip_network((int(address), 64), strict=False))


class _Answer:
    """An answer with the headers of this server.

    Status 500 is not passed on: the error that it is about reaches ``Guard``.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = self.is_broken = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.is_broken = message["status"] == 500
            self.has_begun = not self.is_broken
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        if not self.is_broken:
            await self._send(message)
