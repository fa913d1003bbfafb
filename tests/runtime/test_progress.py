"""Progress is told by the stages themselves, and what hears of it may stop them."""

import time
from pathlib import Path

import pytest

from avsr import load_model
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


def test_only_the_listener_of_the_block_is_told():
    outer, inner = [], []
    with listen_progress(lambda *told: outer.append(told)):
        report(1.0, 4.0, READING)
        with listen_progress(lambda *told: inner.append(told)):
            assert list(report_frames("abc", 2.0)) == ["a", "b", "c"]
        check_cancelled()
    report(2.0, 4.0, READING)
    check_cancelled()
    assert outer == [(1.0, 4.0, READING)] * 2
    assert inner == [(0.0, 2.0, READING), (0.04, 2.0, READING), (0.08, 2.0, READING)]


@pytest.fixture(scope="module")
def model():
    return load_model(device="cpu")


def test_a_transcription_is_told_of_frame_by_frame(model):
    seen = []
    result = model.transcribe(EXAMPLE, progress=lambda *told: seen.append(told))
    stages = list(dict.fromkeys(doing for _, _, doing in seen))
    assert stages == [READING, WRITING]
    frames = {done for done, _, doing in seen if doing == READING}
    assert len(frames) == pytest.approx(25 * result.duration, abs=1)
    assert sum(doing == WRITING for *_, doing in seen) > 10, "the search passes by, step by step"


@pytest.mark.parametrize("stage", [READING, WRITING])
def test_what_a_listener_raises_stops_the_work(model, stage):
    stopped = []

    def stop(done, total, doing):
        if doing == stage and done >= total / 2:
            stopped.append(time.monotonic())
            raise StoppedError

    with pytest.raises(StoppedError):
        model.transcribe(EXAMPLE, progress=stop)
    assert len(stopped) == 1
    assert time.monotonic() - stopped[0] < 1
