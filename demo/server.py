"""The server around the page: gradio behind `Guard`, with a `Store` that is cleaned up.

Gradio serves the page and its API. `Guard` passes on only what the page needs, limits requests and
bytes per address, and forbids the browser to load anything from elsewhere. Uploads and results are
in a `Store`, whose old files are deleted.
"""

import asyncio
import contextlib
import logging
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI, Request
from starlette.routing import Mount
from starlette.types import Scope

from avsr.errors import AvsrError, ConfigError
from avsr.runtime.text_lines import split_lines
from demo.connections import PatientProtocol
from demo.guard import Guard
from demo.limits import Limits
from demo.listeners import ListenerQueue
from demo.store import Store

FIRST_PORT, PORTS = 7860, 100  # ports that are tried in turn by default
SHUTDOWN_SECONDS = 3  # for requests in progress when the server is stopped
MODEL = "model"  # concurrency_id of the page's functions that use the model


def create_app(
    page: gr.Blocks,
    store: Store,
    *,
    users: dict[str, str] | None = None,
    root_path: str = "",
    **style: Any,
) -> FastAPI:
    """Put the page, its API and /health behind a guard.

    Args:
        page: The page, as ``build_app`` returns it.
        store: Where uploads and results are, with the limits.
        users: Name and password of everybody who may log in; None: no login is needed.
        root_path: Address or path at which a proxy shows the page, such as "/avsr".
        style: Options of gradio: theme, css, head, js.

    Returns:
        The ASGI app.
    """
    limits = store.limits
    page.queue(api_open=False)
    page._queue = queue = ListenerQueue(page, store)
    for function in page.fns.values():
        if any(event == "click" for _, event in function.targets):
            function.queue = True  # else an example uses a path that the guard does not serve
        if function.concurrency_id == MODEL:
            function.concurrency_limit = limits.jobs
    started = time.monotonic()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        sweeper = asyncio.create_task(_sweep_regularly(page, store, queue))
        yield
        sweeper.cancel()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    async def health() -> dict[str, str | int]:  # in the event loop, as the queue
        return {
            "status": "ok",
            "waiting": len(queue),
            "seconds": round(time.monotonic() - started),
        }

    gr.mount_gradio_app(
        app,
        page,
        path="/",
        auth=list(users.items()) if users else None,
        root_path=root_path or None,
        max_file_size=limits.upload_bytes,
        show_error=False,
        footer_links=["api"],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        **style,
    )
    page.has_launched = True  # else gradio accepts the path of any file
    (mounted,) = (route.app for route in app.routes if isinstance(route, Mount))
    is_user = _login_check(mounted) if users else None
    app.add_middleware(Guard, store=store, queue=queue, is_user=is_user)
    return app


def _login_check(gradio_app: Any) -> Callable[[Scope], bool]:
    """A function that tells whether a request has the cookie of somebody who is logged in."""

    def is_user(scope: Scope) -> bool:
        cookies = Request(scope).cookies
        names = (f"access-token-{kind}{gradio_app.cookie_id}" for kind in ("", "unsecure-"))
        return any(cookies.get(name) in gradio_app.tokens for name in names)

    return is_user


async def _sweep_regularly(page: gr.Blocks, store: Store, queue: ListenerQueue) -> None:
    """Delete old files and forget requests that nobody listens for."""
    while True:
        await asyncio.sleep(store.sweep_seconds)
        queue.forget_unheard()
        keep = {path for block in page.blocks.values() for path in block.keep_in_cache}  # examples
        await asyncio.to_thread(store.sweep, keep)


def read_users(path: Path) -> dict[str, str]:
    """Read names and passwords from a file with a line ``name:password`` for each user.

    Raises:
        ConfigError: The file cannot be read or a line is wrong. It shows no password.
    """
    try:
        lines = split_lines(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"cannot read the users in {path}: {reason}") from error
    users = {}
    for number, line in enumerate(lines, 1):
        name, colon, password = line.partition(":")
        if not line.strip():
            continue
        if not (name.strip() and colon and password):
            raise ConfigError(f"{path}, line {number}: must be name:password")
        users[name.strip()] = password
    if not users:
        raise ConfigError(f"{path} names no user: write a line name:password for each user")
    return users


def bind(host: str, port: int | None) -> socket.socket:
    """Open a socket for the server. Clients that connect before the server runs wait.

    Args:
        host: Address to listen on.
        port: Port to listen on; None: the first free one from FIRST_PORT on.

    Raises:
        AvsrError: The port is in use, or the address is not one of this machine.
    """
    ports = range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else [port]
    reason = ""
    for number in ports:
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, number))
            listener.listen()  # until then another server can bind the same port
        except OSError as error:
            listener.close()
            reason = error.strerror or str(error)
        else:
            return listener
    where = host if port is None else f"{host}, port {port}"
    raise AvsrError(f"cannot listen on {where}: {reason}")


class Server:
    """The server: ``with Server(app, bind(...), limits) as address:``, or ``run()``."""

    def __init__(self, app: FastAPI, listener: socket.socket, limits: Limits) -> None:
        self.listener = listener
        host, port = listener.getsockname()[:2]
        host = "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host
        self.address = f"http://{host}:{port}/"
        self.server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                http=type("Protocol", (PatientProtocol,), {"max_connections": limits.connections}),
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
                server_header=False,
            )
        )
        logging.getLogger("uvicorn.error").addFilter(_is_worth_logging)

    def run(self) -> None:
        """Serve until Ctrl-C or SIGTERM."""
        if threading.current_thread() is threading.main_thread():
            # uvicorn raises the signal again at the end, before the store could be deleted
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            self.server.run([self.listener])

    def __enter__(self) -> str:
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            if not self.thread.is_alive():
                raise AvsrError("the server did not start")
            time.sleep(0.01)
        return self.address

    def __exit__(self, *error: object) -> None:
        self.server.should_exit = True
        self.thread.join(2 * SHUTDOWN_SECONDS)


def _is_worth_logging(record: logging.LogRecord) -> bool:
    """Whether a log record is about anything but pages that are open at shutdown."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is not asyncio.CancelledError and not record.getMessage().startswith("Cancel ")
