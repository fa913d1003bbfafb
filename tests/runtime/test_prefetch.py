"""Prefetching in threads: the same items, errors in their place, and no thread left behind."""

import threading
import time

import pytest

from avsr.runtime.prefetch import prefetch, prefetch_map
from avsr.runtime.progress import READING, listen_progress, report


def test_items_come_in_order_from_another_thread():
    threads = set()

    def items():
        for number in range(50):
            threads.add(threading.get_ident())
            yield number

    assert list(prefetch(items(), 3)) == list(range(50))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_it_is_no_further_ahead_than_the_depth():
    drawn = threading.Semaphore(0)
    count = 0

    def items():
        nonlocal count
        for number in range(100):
            count += 1
            drawn.release()
            yield number

    taken = prefetch(items(), 2)
    assert next(taken) == 0
    for _ in range(4):  # the one taken, two that wait, one in the thread's hand
        assert drawn.acquire(timeout=5)
    assert not drawn.acquire(timeout=0.1)
    assert count == 4
    taken.close()


def test_errors_come_after_the_items_before_them():
    def items():
        yield 1
        raise ValueError("broken")

    taken = prefetch(items(), 5)
    assert next(taken) == 1
    with pytest.raises(ValueError, match="broken"):
        next(taken)


def test_leaving_early_ends_the_thread_and_closes_the_items_in_it():
    closed = []

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.append(threading.get_ident())

    before = threading.active_count()
    taken = prefetch(items(), 2)
    next(taken)
    taken.close()
    assert threading.active_count() == before
    assert closed != [threading.get_ident()]
    assert len(closed) == 1


def test_reports_of_the_thread_reach_the_listener_which_may_cancel():
    stopped = threading.Event()

    def items():
        try:
            while True:  # nothing comes: only the reports show that it works
                report(1.0, 2.0, READING)
        finally:
            stopped.set()
        yield

    def stop(done, total, stage):
        assert (done, total, stage) == (1.0, 2.0, READING)
        assert threading.current_thread() is threading.main_thread()
        raise KeyError

    with pytest.raises(KeyError), listen_progress(stop):
        next(prefetch(items(), 1))
    assert stopped.is_set()


def test_results_come_in_order_from_several_threads():
    barrier = threading.Barrier(2)

    def make(number):
        if number < 2:
            barrier.wait(timeout=5)  # both at the same time
        time.sleep(0.001 * (number % 3))
        return number, threading.get_ident()

    results = list(prefetch_map(make, range(20), 3, 2))
    assert [number for number, _ in results] == list(range(20))
    assert len({thread for _, thread in results}) == 2
    assert threading.get_ident() not in {thread for _, thread in results}


def test_no_more_results_are_computed_than_the_depth():
    computed = []
    taken = prefetch_map(lambda number: computed.append(number), range(100), 3, 2)
    next(taken)
    time.sleep(0.1)
    taken.close()
    assert len(computed) == 4  # the one taken and three that wait


def test_an_error_of_the_function_comes_in_its_place():
    def make(number):
        return 1 / (2 - number)

    taken = prefetch_map(make, range(5), 3, 2)
    assert (next(taken), next(taken)) == (0.5, 1.0)
    with pytest.raises(ZeroDivisionError):
        next(taken)


def test_a_listener_may_cancel_the_function():
    stopped = threading.Event()

    def make(number):
        try:
            while True:
                report(1.0, 2.0, READING)
        finally:
            stopped.set()

    def stop(done, total, stage):
        assert threading.current_thread() is threading.main_thread()
        raise KeyError

    before = threading.active_count()
    with pytest.raises(KeyError), listen_progress(stop):
        next(prefetch_map(make, [1], 1, 2))
    assert stopped.is_set()
    assert threading.active_count() == before
