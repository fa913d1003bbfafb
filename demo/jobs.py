"""Work for visitors: first come, first served, told how far it is, and stopped when they say so.

One model serves all, so only a few jobs run at a time; the others wait and are told their place.
"""

import html
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from avsr.errors import AvsrError
from avsr.runtime.progress import Progress

LOOK = 0.4  # s between two looks at a job; each costs the server and the browser some work
TRUSTED = 0.1  # share of the work after which the time left is worth listen_progress

T = TypeVar("T")


class StoppedError(Exception):
    """Whoever asked for the work does not want it any more."""


@dataclass(frozen=True, kw_only=True)
class Position:
    """How far a job is."""

    ahead: int
    """Jobs that come before it; 0: it is being done."""
    done: float = 0.0
    """Seconds of the recording that are done."""
    total: float = 0.0
    """Seconds in all; 0: not known."""
    doing: str = ""
    """What is being done."""
    elapsed: float = 0.0
    """Seconds since it was begun."""

    @property
    def share(self) -> float:
        """0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def left(self) -> float | None:
        """Seconds until it is done; None where that cannot be said."""
        if self.share < TRUSTED:
            return None
        return self.elapsed * (1 / self.share - 1)


class Job(Generic[T]):
    """Work that waits, runs or is over."""

    def __init__(self, work: Callable[[Progress], T], owner: object, desk: "JobQueue") -> None:
        self.owner = owner
        self.future: Future[T] = Future()
        self.began: float | None = None
        self._work, self._desk = work, desk
        self._stopped = threading.Event()
        self._told = (0.0, 0.0, "")

    def stop(self) -> None:
        """End at once if it still waits, else at its next report."""
        self._stopped.set()
        self.future.cancel()

    def run(self) -> T:
        """Do the work; for the thread of it."""
        self.began = time.monotonic()
        self._hear(*self._told)
        return self._work(self._hear)

    def _hear(self, done: float, total: float, doing: str) -> None:
        if self._stopped.is_set():
            raise StoppedError
        self._told = (done, total, doing)

    def positions(self) -> Iterator[Position]:
        """How far it is, several times a second, until it is over; who leaves early stops it."""
        try:
            while not wait([self.future], timeout=LOOK).done:
                yield self._position()
        finally:
            if not self.future.done():
                self.stop()

    def _position(self) -> Position:
        if self.began is None:
            return Position(ahead=self._desk.ahead(self))
        done, total, doing = self._told
        elapsed = time.monotonic() - self.began
        return Position(ahead=0, done=done, total=total, doing=doing, elapsed=elapsed)

    def result(self) -> T:
        """What came out, once it did. Raises what the work raised, StoppedError if stopped."""
        try:
            return self.future.result()
        except CancelledError as error:
            raise StoppedError from error


class JobQueue:
    """Takes jobs and has ``places`` of them done at a time; ``waiting`` more may wait."""

    def __init__(self, places: int = 1, waiting: int = 20) -> None:
        self._places = places
        self._room = places + waiting
        self._lock = threading.RLock()
        self._jobs: list[Job[Any]] = []
        self._line: SimpleQueue[Job[Any]] = SimpleQueue()
        for _ in range(places):  # daemons: whoever stops the server does not wait for a long job
            threading.Thread(target=self._serve, daemon=True).start()

    def take(self, work: Callable[[Progress], T], owner: object = None) -> Job[T]:
        """Put ``work``, which is given the function to report to, at the end of the line.

        Where that is full the job fails at once, with an AvsrError.
        """
        job = Job(work, owner, self)
        with self._lock:
            if len(self._jobs) >= self._room:
                message = f"{len(self._jobs)} videos are waiting already: come back in a while"
                job.future.set_exception(AvsrError(message))
                return job
            self._jobs.append(job)
            self._line.put(job)
        job.future.add_done_callback(lambda _: self._leave(job))
        return job

    def _serve(self) -> None:
        while True:
            job = self._line.get()
            if job.future.set_running_or_notify_cancel():
                try:
                    job.future.set_result(job.run())
                except BaseException as error:  # whoever waits for the result gets it
                    job.future.set_exception(error)
            del job  # and its result, which may be large

    def stop(self, owner: object) -> None:
        """Stop all jobs of an owner."""
        with self._lock:
            own = [job for job in self._jobs if job.owner == owner]
        for job in own:
            job.stop()

    def ahead(self, job: Job[Any]) -> int:
        """Jobs that must end before this one is begun, at least one for a job that waits."""
        with self._lock:
            place = self._jobs.index(job) if job in self._jobs else 0
        return max(1, place - self._places + 1)

    def _leave(self, job: Job[Any]) -> None:
        with self._lock:
            self._jobs.remove(job)


def render_position(position: Position) -> str:
    """Where a job is: place in the line, or stage, share and time left."""
    if position.ahead:
        others = "one other video" if position.ahead == 1 else f"{position.ahead} other videos"
        return f'<p role="status">Waiting for {others}</p><progress></progress>'
    left = position.left
    doing = html.escape(position.doing.capitalize()) or "Opening the video"
    text = f"{doing}…"
    if position.total and left is not None and left >= 1:
        text += f" about {_spoken(left)} left"
    bar = f'value="{position.share:.3f}"' if 0 < position.share < 1 else ""
    return f'<p role="status">{text}</p><progress {bar}></progress>'


def _spoken(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
