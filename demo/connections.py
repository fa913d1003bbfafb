"""Connections of the server: what is idle or stuck is closed, and does not count as work."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0  # from the opening of a connection, or an answer, to a request's head
UNREAD_SECONDS = 120.0  # without any progress of an answer; a video that is paused is not read


class PatientProtocol(H11Protocol):
    """HTTP for clients that send whole requests and read the answers.

    A connection is idle while no request is answered. Idle ones are closed after HEAD_SECONDS,
    however slowly bytes come in, and make room for new ones: beyond ``max_connections`` the oldest
    idle one is closed, those that never sent a request first.
    """

    max_connections = 500  # of all clients together; a subclass may have another number

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._idle_since = 0.0  # time of the event loop, s

    @property
    def is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_request()
        if len(self.connections) > self.max_connections:
            self._make_room()

    def handle_events(self) -> None:
        super().handle_events()
        if not self.is_idle:
            self._stop_timer("_head_timer")

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.is_idle:  # else the next request was here already
            self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer("_head_timer")
        self._stop_timer("_unread_timer")
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_timer = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_timer("_unread_timer")
        super().resume_writing()

    def _await_request(self) -> None:
        self._stop_timer("_head_timer")
        self._idle_since = self.loop.time()
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self.is_idle:
            self.transport.abort()  # not close(), which would wait for a client that does not read

    def _make_room(self) -> None:
        """Close the connection that has been idle longest, but not this one."""
        others = [
            other
            for other in self.connections
            if isinstance(other, PatientProtocol) and other is not self and other.is_idle
        ]
        if others:
            oldest = min(others, key=lambda other: (other.cycle is not None, other._idle_since))
            oldest.transport.abort()

    def _stop_timer(self, name: str) -> None:
        timer: asyncio.TimerHandle | None = getattr(self, name)
        if timer is not None:
            timer.cancel()
            setattr(self, name, None)
