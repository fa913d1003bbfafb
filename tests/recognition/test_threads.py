"""Small networks compute in one thread, and whoever called them has the threads of before."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from avsr.recognition.threads import in_few_threads


@pytest.fixture(autouse=True)
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def model(dim: int) -> Any:
    return SimpleNamespace(config=SimpleNamespace(encoder=SimpleNamespace(dim=dim)))


@in_few_threads
def count(network: Any, more: int = 0) -> int:
    if more < 0:
        raise ValueError("below zero")
    return torch.get_num_threads() + more


@pytest.mark.parametrize(("dim", "threads"), [(256, 1), (768, 2), (1024, 2)])
def test_only_small_networks_have_one_thread(dim, threads):
    assert count(model(dim), more=10) == threads + 10
    assert torch.get_num_threads() == 2


def test_threads_are_given_back_after_a_failure():
    with pytest.raises(ValueError, match="zero"):
        count(model(256), more=-1)
    assert torch.get_num_threads() == 2
