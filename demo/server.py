"""The server around the page: what reaches it, how much of it, and what is deleted afterwards.

Gradio serves the page and its API. In front of it stands `Guard`, which lets through only what the
page needs, counts requests and bytes per address, and forbids the browser to load anything from
elsewhere. Uploads and results are in a `Store`, which is swept.
"""

import asyncio
import contextlib
import logging
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI

from avsr.errors import AvsrError, ConfigError
from demo.guard import Guard
from demo.limits import Limits
from demo.store import Store

FIRST_PORT, PORTS = 7860, 100  # tried in turn where none is asked for
LONGEST_FAREWELL = 3  # s, for requests under way when the server is stopped
MODEL = "model"  # concurrency_id of the page's functions that use the model


def create_app(
    page: gr.Blocks,
    store: Store,
    *,
    users: dict[str, str] | None = None,
    root_path: str = "",
    **look: Any,
) -> FastAPI:
    """The page, its API and /health behind a guard.

    ``users`` are the names and passwords of those who may log in, None for everybody.
    ``root_path`` is the address or path at which a proxy shows the page, such as "/avsr".
    ``look`` is gradio's: theme, css, head, js.
    """
    limits = store.limits
    for function in page.fns.values():
        if any(event == "click" for _, event in function.targets):
            function.queue = (
                True  # else a click on an example takes a door that the guard keeps shut
            )
        if function.concurrency_id == MODEL:
            function.concurrency_limit = limits.jobs
    page.queue(max_size=limits.waiting, api_open=False)
    started = time.monotonic()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        sweeper = asyncio.create_task(_sweep_now_and_then(page, store))
        yield
        sweeper.cancel()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    def health() -> dict[str, str | int]:
        return {
            "status": "ok",
            "waiting": len(page._queue),
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
        **look,
    )
    page.has_launched = True  # else gradio takes any file's path for one of its own
    app.add_middleware(Guard, store=store)
    return app


async def _sweep_now_and_then(page: gr.Blocks, store: Store) -> None:
    """Sweep ten times as often as files grow old, so that none stays a tenth longer."""
    while True:
        await asyncio.sleep(store.limits.keep_minutes * 60 / 10)
        keep = {path for block in page.blocks.values() for path in block.keep_in_cache}  # examples
        await asyncio.to_thread(store.sweep, keep)


def read_users(path: Path) -> dict[str, str]:
    """Names and passwords from a file with a line ``name:password`` for each user.

    Raises ConfigError, in one line, without showing a password.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
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
        raise ConfigError(f"{path} names no user: write a line name:password for each")
    return users


def bind(host: str, port: int | None) -> socket.socket:
    """A socket for the server, by default at the first free port from FIRST_PORT on.

    Whoever connects before the server runs waits. Raises AvsrError if there is none.
    """
    ports = range(FIRST_PORT, FIRST_PORT + PORTS) if port is None else [port]
    reason = ""
    for number in ports:
        found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((host, number))
            found.listen()  # else another server may have the same port until one of them listens
        except OSError as error:
            found.close()
            reason = error.strerror or str(error)
        else:
            return found
    where = host if port is None else f"{host}, port {port}"
    raise AvsrError(f"cannot listen on {where}: {reason}")


class Server:
    """A running server: ``with Server(app, bind(...), limits) as address``, or ``run()``."""

    def __init__(self, app: FastAPI, listener: socket.socket, limits: Limits) -> None:
        self.listener = listener
        host, port = listener.getsockname()[:2]
        host = "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host
        self.address = f"http://{host}:{port}/"
        self.server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                limit_concurrency=limits.connections,
                timeout_graceful_shutdown=LONGEST_FAREWELL,
                server_header=False,
            )
        )
        logging.getLogger("uvicorn.error").addFilter(_is_no_farewell)

    def run(self) -> None:
        """Serve until Ctrl-C or a signal to end."""
        if threading.current_thread() is threading.main_thread():
            # uvicorn repeats the signal at the end, which would end all before the store is deleted
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
        self.thread.join(2 * LONGEST_FAREWELL)


def _is_no_farewell(record: logging.LogRecord) -> bool:
    """Whether a remark of uvicorn's is not about a page that is open when the server is stopped."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is not asyncio.CancelledError and not record.getMessage().startswith("Cancel ")
