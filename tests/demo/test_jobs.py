"""Who waits, who works, and who was stopped."""

import threading

import pytest

from avsr.errors import AvsrError
from demo.jobs import JobQueue, Position, StoppedError, render_position

PATIENCE = 10.0  # s


def test_jobs_are_done_in_order_and_told_their_place() -> None:
    desk, go, done = JobQueue(), threading.Event(), []
    desk.take(lambda report: (go.wait(PATIENCE), done.append(1)))
    second = desk.take(lambda report: done.append(2))
    third = desk.take(lambda report: done.append(3))
    looks = [second.positions(), third.positions()]
    assert [next(look).ahead for look in looks] == [1, 2]
    go.set()
    third.result()
    assert done == [1, 2, 3]


def test_a_full_line_takes_nobody_until_one_is_done() -> None:
    desk, go = JobQueue(places=1, waiting=1), threading.Event()
    jobs = [desk.take(lambda report: go.wait(PATIENCE)) for _ in range(3)]
    assert list(jobs[2].positions()) == []
    with pytest.raises(AvsrError, match="2 videos are waiting already"):
        jobs[2].result()
    go.set()
    assert jobs[1].result()
    assert desk.take(lambda report: "served").result() == "served"


def test_who_leaves_the_line_is_not_served() -> None:
    desk, go, done = JobQueue(), threading.Event(), []
    first = desk.take(lambda report: go.wait(PATIENCE))
    second = desk.take(lambda report: done.append(2))
    look = second.positions()
    next(look)
    look.close()
    with pytest.raises(StoppedError):
        second.result()
    go.set()
    first.result()
    assert desk.take(lambda report: "served").result() == "served"
    assert done == []


def test_a_running_job_stops_at_its_next_report_and_the_next_one_begins() -> None:
    desk, reported = JobQueue(), threading.Event()

    def work(report: object) -> None:
        for step in range(10_000_000):
            report(step, 10_000_000, "counting")  # type: ignore[operator]
            reported.set()
        raise AssertionError("nobody stopped it")

    running = desk.take(work, "ann")
    other = desk.take(lambda report: "done", "ben")
    assert reported.wait(PATIENCE)
    look = running.positions()
    assert next(look).doing == "counting"
    desk.stop("ann")
    with pytest.raises(StoppedError):
        running.result()
    assert other.result() == "done"


def test_the_time_left_is_told_once_it_can_be_known() -> None:
    early = Position(ahead=0, done=1.0, total=60.0, doing="reading the lips", elapsed=2.0)
    later = Position(ahead=0, done=15.0, total=60.0, doing="reading the lips", elapsed=30.0)
    assert early.left is None
    assert later.left == pytest.approx(90)
    assert "Reading the lips… about 2 min left" in render_position(later)
    assert "Waiting for 2 other videos" in render_position(Position(ahead=2))
