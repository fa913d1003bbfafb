"""A process that works beside others keeps to its share of the cores."""

import cv2
import pytest

from avsr.runtime import cores


@pytest.mark.parametrize(("processes", "share"), [(1, 6), (2, 3), (4, 1), (9, 1)])
def test_each_of_several_processes_has_its_share(monkeypatch, processes, share):
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr(cores, "_processes", 1)
    before = cv2.getNumThreads()
    try:
        cores.share_cores(processes)
        assert cores.usable_cores() == cv2.getNumThreads() == share
    finally:
        cv2.setNumThreads(before)
