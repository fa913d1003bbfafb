"""A queue of jobs for visitors: first come, first served, with progress and a way to stop.

All visitors share one model, so only a few jobs run at a time. The others wait and can be asked how
many jobs come before them.
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

POLL_SECONDS = 0.4  # between two looks at a job; each costs the server and the browser some work
MIN_SHARE = 0.1  # share of the work after which the time left is worth showing

T = TypeVar("T")


class StoppedError(Exception):
    """The visitor stopped the job or left the page."""


@dataclass(frozen=True, kw_only=True)
class JobProgress:
    """How far a job is."""

    ahead: int
    """Number of jobs that must end before it starts; 0: it is running."""
    done: float = 0.0
    """Seconds of the recording that are done."""
    total: float = 0.0
    """Length of the recording in seconds; 0: not known yet."""
    stage: str = ""
    """What the job is doing, such as "reading the lips"."""
    elapsed: float = 0.0
    """Seconds since it started."""

    @property
    def share(self) -> float:
        """Share of the work that is done, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until it is done; None while it is too early to tell."""
        if self.share < MIN_SHARE:
            return None
        return self.elapsed * (1 / self.share - 1)


class Job(Generic[T]):
    """One piece of work that waits, runs or has ended. ``JobQueue.submit`` makes it."""

    def __init__(self, work: Callable[[Progress], T], owner: object, queue: "JobQueue") -> None:
        self.owner = owner
        self.future: Future[T] = Future()
        self.start_time: float | None = None
        self._work, self._queue = work, queue
        self._stop_requested = threading.Event()
        self._last_report = (0.0, 0.0, "")

    def stop(self) -> None:
        """End the job: at once if it still waits, else when it next reports progress."""
        self._stop_requested.set()
        self.future.cancel()

    def run(self) -> T:
        """Do the work, in the calling thread."""
        self.start_time = time.monotonic()
        self._report(*self._last_report)
        return self._work(self._report)

    def _report(self, done: float, total: float, stage: str) -> None:
        if self._stop_requested.is_set():
            raise StoppedError
        self._last_report = (done, total, stage)

    def watch(self) -> Iterator[JobProgress]:
        """Yield the progress several times a second until the job ends.

        Closing the iterator early stops the job.
        """
        try:
            while not wait([self.future], timeout=POLL_SECONDS).done:
                yield self._progress()
        finally:
            if not self.future.done():
                self.stop()

    def _progress(self) -> JobProgress:
        if self.start_time is None:
            return JobProgress(ahead=self._queue.num_ahead(self))
        done, total, stage = self._last_report
        elapsed = time.monotonic() - self.start_time
        return JobProgress(ahead=0, done=done, total=total, stage=stage, elapsed=elapsed)

    def result(self) -> T:
        """Wait for the job and return its result.

        Raises:
            StoppedError: The job was stopped.
            Exception: Whatever the work raised.
        """
        try:
            return self.future.result()
        except CancelledError as error:
            raise StoppedError from error


class JobQueue:
    """Runs jobs in order, a few at a time."""

    def __init__(self, running: int = 1, waiting: int = 20) -> None:
        """At most ``running`` jobs run at a time, and ``waiting`` more may wait."""
        self.is_present: Callable[[object], bool] = lambda owner: True
        """Whether an owner still waits; nothing is done for one that has left."""
        self._running = running
        self._capacity = running + waiting
        self._lock = threading.RLock()
        self._jobs: list[Job[Any]] = []
        self._pending: SimpleQueue[Job[Any]] = SimpleQueue()
        for _ in range(running):  # daemons, so that stopping the server does not wait for a job
            threading.Thread(target=self._run_jobs, daemon=True).start()

    def submit(self, work: Callable[[Progress], T], owner: object = None) -> Job[T]:
        """Put work at the end of the queue.

        Args:
            work: Function that does the work. Its argument is the function to report progress to.
            owner: Who wants it, for ``stop``.

        Returns:
            The job. If the queue is full, its ``result`` raises AvsrError.
        """
        job = Job(work, owner, self)
        with self._lock:
            if len(self._jobs) >= self._capacity:
                message = f"{len(self._jobs)} videos are waiting already: try again in a while"
                job.future.set_exception(AvsrError(message))
                return job
            self._jobs.append(job)
            self._pending.put(job)
        job.future.add_done_callback(lambda _: self._remove(job))
        if not self.is_present(owner):  # it left while the job was made, so ``stop`` missed it
            job.stop()
        return job

    def _run_jobs(self) -> None:
        while True:
            job = self._pending.get()
            if job.future.set_running_or_notify_cancel():
                try:
                    job.future.set_result(job.run())
                except BaseException as error:  # raised again by ``Job.result``
                    job.future.set_exception(error)
            del job  # its result may be large

    def stop(self, owner: object) -> None:
        """Stop all jobs of an owner."""
        with self._lock:
            jobs = [job for job in self._jobs if job.owner == owner]
        for job in jobs:
            job.stop()

    def num_ahead(self, job: Job[Any]) -> int:
        """Number of jobs that must end before a waiting one starts, at least 1."""
        with self._lock:
            index = self._jobs.index(job) if job in self._jobs else 0
        return max(1, index - self._running + 1)

    def _remove(self, job: Job[Any]) -> None:
        with self._lock:
            self._jobs.remove(job)


def render_progress(progress: JobProgress) -> str:
    """HTML: how many jobs come first, or the stage, a bar and the time left."""
    if progress.ahead:
        others = "one other video" if progress.ahead == 1 else f"{progress.ahead} other videos"
        return f'<p role="status">Waiting for {others}</p><progress></progress>'
    seconds = progress.seconds_left
    stage = html.escape(progress.stage[:1].upper() + progress.stage[1:]) or "Opening the video"
    text = f"{stage}…"
    if progress.total and seconds is not None and seconds >= 1:
        text += f" about {_format_time(seconds)} left"
    bar = f'value="{progress.share:.3f}"' if 0 < progress.share < 1 else ""
    return f'<p role="status">{text}</p><progress {bar}></progress>'


def _format_time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
