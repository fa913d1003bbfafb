"""Gradio's queue for clients that listen: nothing is worked on for one that is not there."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import gradio as gr
from gradio.queueing import Event, Queue

from demo.jobs import JobQueue
from demo.store import Store
from demo.validation import find_mistake

UNHEARD_SECONDS = 60.0  # for which an event is kept for a client that has not listened yet
MAX_UNHEARD = 100  # such events; the oldest ones make room


class Page(gr.Blocks):
    """The page, and the queue of its jobs."""

    jobs: JobQueue


class ListenerQueue(Queue):
    """Gradio's queue, in which events wait for their turn only while their client listens.

    A client sends its request and listens for the answer in a second one. Until it does, the
    request takes nobody's place. When the client leaves, what it waits for is removed, what is
    done for it stops, and the files of its requests are left to the store.
    """

    def __init__(self, page: gr.Blocks, store: Store) -> None:
        super().__init__(
            live_updates=True,
            concurrency_count=page.max_threads,
            update_intervals=1,
            max_size=None,  # counted here, since only some requests wait
            blocks=page,
        )
        self.store = store
        self._listeners: Counter[object] = Counter()  # session -> streams that it reads
        if isinstance(page, Page):
            page.jobs.is_present = self._listeners.__contains__

    def __len__(self) -> int:
        """Number of events whose clients listen and wait."""
        return sum(event.session_hash in self._listeners for event in self._waiting())

    def _waiting(self) -> Iterator[Event]:
        queues = list(self.event_queue_per_concurrency_id.values())
        return chain.from_iterable(queue.queue for queue in queues)

    def _events(self) -> list[Event]:
        """All events that wait or are worked on."""
        return list(self.event_ids_to_events.values())

    @property
    def is_full(self) -> bool:
        return len(self) >= self.store.limits.waiting

    async def push(self, body: Any, request: Any, username: str | None) -> Any:
        """Take a request; refuse one with wrong values, or that has to wait in a full queue."""
        mistake = find_mistake(self.blocks, body)
        if not mistake and self.store.lacks(_paths(body)):
            mistake = "the uploaded file has been deleted: upload it again"
        if mistake:
            return False, mistake, "error" if isinstance(mistake, str) else "validator_error"
        if self.is_full and self._has_limit(self.blocks.fns[body.fn_index]):
            return False, "too many videos are waiting: try again in a while", "queue_full"
        answer = await super().push(body, request, username)
        self.store.claim(_paths(body))
        self.forget_unheard()
        return answer

    @staticmethod
    def _has_limit(function: Any) -> bool:
        return function.concurrency_limit is not None

    def get_events(self) -> tuple[list[Event], bool, str] | None:
        """Take the next event whose client listens out of a queue that may go on."""
        queues = list(self.event_queue_per_concurrency_id.items())
        random.shuffle(queues)
        for name, queue in queues:
            limit = queue.concurrency_limit
            if limit is not None and queue.current_concurrency >= limit:
                continue
            for event in queue.queue:
                if event.session_hash in self._listeners:
                    queue.queue.remove(event)
                    return [event], False, name
        return None

    def find_session(self, event_id: str) -> str | None:
        """Return the session of an event; None if there is no such event."""
        event = self.event_ids_to_events.get(event_id)
        if event is not None:
            return event.session_hash
        sessions = self.pending_event_ids_session.items()  # of events that are done
        return next((session for session, events in sessions if event_id in events), None)

    def must_refuse(self, session: str) -> bool:
        """Whether a session that begins to listen would have to wait in a full queue."""
        waits = any(e.session_hash == session and self._has_limit(e.fn) for e in self._waiting())
        return waits and session not in self._listeners and self.is_full

    @contextmanager
    def listening(self, session: str) -> Iterator[Callable[[], None]]:
        """Count a listener of a session. Call what this yields when the stream has ended by itself.

        If the client leaves before that, what it waits for is given up.
        """
        has_ended = False

        def end() -> None:
            nonlocal has_ended
            has_ended = True

        self._listeners[session] += 1
        try:
            yield end
        finally:
            self._listeners[session] -= 1
            if not self._listeners[session]:
                del self._listeners[session]
                if not has_ended:
                    self._give_up([e for e in self._events() if e.session_hash == session])
                self._forget(session)

    def forget_unheard(self) -> None:
        """Give up the oldest events for which nobody listens."""
        unheard = [event for event in self._waiting() if event.session_hash not in self._listeners]
        unheard.sort(key=lambda event: event.enqueue_time)
        oldest = time.monotonic() - UNHEARD_SECONDS
        spare = len(unheard) - MAX_UNHEARD
        self._give_up([e for n, e in enumerate(unheard) if n < spare or e.enqueue_time < oldest])

    async def clean_events(
        self, *, session_hash: str | None = None, event_id: str | None = None
    ) -> None:
        """Give up the events of a session, or one event; gradio calls this."""
        both = (session_hash, event_id)
        self._give_up(
            [e for e in self._events() if (e.session_hash == both[0]) or e._id == both[1]]
        )

    def _give_up(self, events: list[Event]) -> None:
        """Remove events that wait, stop those that run, and leave their files to the store."""
        for event in events:
            event.alive = False  # gradio sends nothing more, and closes its generator
            queue = self.event_queue_per_concurrency_id[event.concurrency_id].queue
            if event in queue:
                queue.remove(event)
                self.event_ids_to_events.pop(event._id, None)
            self.pending_event_ids_session.get(event.session_hash, set()).discard(event._id)
        for session in {event.session_hash for event in events}:
            if isinstance(self.blocks, Page):
                self.blocks.jobs.stop(session)
            self._forget(session)
        others = {path for e in self._events() if e not in events for path in _paths(e.data)}
        self.store.abandon({path for e in events for path in _paths(e.data)} - others)

    def _forget(self, session: str) -> None:
        """Free the memory of a session that waits for nothing."""
        if session not in self._listeners and not self.pending_event_ids_session.get(session):
            self.pending_event_ids_session.pop(session, None)
            self.pending_messages_per_session.pop(session, None)


def _paths(body: Any) -> set[str]:
    """The uploaded files of a request."""
    paths = (value.get("path") for value in body.data if isinstance(value, dict))
    return {path for path in paths if isinstance(path, str)}
