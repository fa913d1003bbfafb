"""Two kills of each command; `make kill` does twenty."""

import os
import subprocess
import sys
from pathlib import Path


def test_a_killed_command_goes_on_and_ends_like_one_that_was_not():
    result = subprocess.run(
        [sys.executable, "-m", "tests.kill", "--random", "1", "--writes", "1", "--seed", "2"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(result.stdout.strip().splitlines()) == 6
