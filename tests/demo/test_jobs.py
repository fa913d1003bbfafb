"""Order, progress, a full queue, and stopping of jobs."""

import threading

import pytest

from avsr.errors import AvsrError
from demo.jobs import JobProgress, JobQueue, StoppedError, render_progress

PATIENCE = 10.0  # s


def test_jobs_run_in_order_and_know_how_many_come_first() -> None:
    queue, go, done = JobQueue(), threading.Event(), []
    queue.submit(lambda report: (go.wait(PATIENCE), done.append(1)))
    second = queue.submit(lambda report: done.append(2))
    third = queue.submit(lambda report: done.append(3))
    watchers = [second.watch(), third.watch()]
    assert [next(watcher).ahead for watcher in watchers] == [1, 2]
    go.set()
    third.result()
    assert done == [1, 2, 3]


def test_a_full_queue_refuses_jobs_until_one_is_done() -> None:
    queue, go = JobQueue(running=1, waiting=1), threading.Event()
    jobs = [queue.submit(lambda report: go.wait(PATIENCE)) for _ in range(3)]
    assert list(jobs[2].watch()) == []
    with pytest.raises(AvsrError, match="2 videos are waiting already"):
        jobs[2].result()
    go.set()
    assert jobs[1].result()
    assert queue.submit(lambda report: "served").result() == "served"


def test_a_job_whose_watcher_leaves_is_not_run() -> None:
    queue, go, done = JobQueue(), threading.Event(), []
    first = queue.submit(lambda report: go.wait(PATIENCE))
    second = queue.submit(lambda report: done.append(2))
    watcher = second.watch()
    next(watcher)
    watcher.close()
    with pytest.raises(StoppedError):
        second.result()
    go.set()
    first.result()
    assert queue.submit(lambda report: "served").result() == "served"
    assert done == []


def test_a_running_job_stops_at_its_next_report_and_the_next_one_starts() -> None:
    queue, reported = JobQueue(), threading.Event()

    def work(report: object) -> None:
        for step in range(10_000_000):
            report(step, 10_000_000, "counting")  # type: ignore[operator]
            reported.set()
        raise AssertionError("nobody stopped it")

    running = queue.submit(work, "ann")
    other = queue.submit(lambda report: "done", "ben")
    assert reported.wait(PATIENCE)
    watcher = running.watch()
    assert next(watcher).stage == "counting"
    queue.stop("ann")
    with pytest.raises(StoppedError):
        running.result()
    assert other.result() == "done"


def test_the_time_left_is_shown_once_it_can_be_estimated() -> None:
    early = JobProgress(ahead=0, done=1.0, total=60.0, stage="reading the lips", elapsed=2.0)
    later = JobProgress(ahead=0, done=15.0, total=60.0, stage="reading the lips", elapsed=30.0)
    assert early.seconds_left is None
    assert later.seconds_left == pytest.approx(90)
    assert "Reading the lips… about 2 min left" in render_progress(later)
    assert "Waiting for 2 other videos" in render_progress(JobProgress(ahead=2))
