"""Progress is reported by the stages themselves, and a listener may cancel them."""

import time
from pathlib import Path

import pytest

from avsr.runtime.progress import (
    READING,
    WRITING,
    check_cancelled,
    listen_progress,
    report,
    report_frames,
)

EXAMPLE = Path(__file__).parents[2] / "demo/examples/es.mp4"


class StoppedError(Exception):
    pass


def test_only_the_listener_of_the_block_gets_reports():
    outer, inner = [], []
    with listen_progress(lambda *values: outer.append(values)):
        report(1.0, 4.0, READING)
        with listen_progress(lambda *values: inner.append(values)):
            assert list(report_frames("abc", 2.0)) == ["a", "b", "c"]
        check_cancelled()
    report(2.0, 4.0, READING)
    check_cancelled()
    assert outer == [(1.0, 4.0, READING)] * 2
    assert inner == [(0.0, 2.0, READING), (0.04, 2.0, READING), (0.08, 2.0, READING)]


def test_a_transcription_is_reported_frame_by_frame(model):
    reports = []
    result = model.transcribe(EXAMPLE, progress=lambda *values: reports.append(values))
    stages = list(dict.fromkeys(stage for _, _, stage in reports))
    assert stages == [READING, WRITING]
    frames = {done for done, _, stage in reports if stage == READING}
    assert len(frames) == pytest.approx(25 * result.duration, abs=1)
    assert sum(stage == WRITING for *_, stage in reports) > 10, "every step of the search reports"


@pytest.mark.parametrize("stage", [READING, WRITING])
def test_an_exception_of_the_listener_stops_the_work(model, stage):
    stopped = []

    def stop(done, total, current):
        if current == stage and done >= total / 2:
            stopped.append(time.monotonic())
            raise StoppedError

    with pytest.raises(StoppedError):
        model.transcribe(EXAMPLE, progress=stop)
    assert len(stopped) == 1
    assert time.monotonic() - stopped[0] < 1
