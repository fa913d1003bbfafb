"""The command line as a process of its own: ``avsr``, or ``python -m avsr``."""

import gc
import os
import sys

from avsr.cli.app import main

# New objects before Python looks for garbage among them. PyTorch and mediapipe make 360,000 that
# stay as they are imported; by default looking through them takes 0.3 s.
NEW_OBJECTS = 20_000
# Turns that an idle thread of GNU OpenMP waits for more work before it sleeps. With many more, as
# by default, it keeps its core from loaders and decoders: 3 % in training.
SPINS = "10000"


def run() -> None:
    """Run one command and end the process with its status."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    gc.set_threshold(NEW_OBJECTS)
    if sys.argv[1:2] == ["train"]:
        from avsr.runtime.malloc import disable_malloc_trim

        disable_malloc_trim()
    status = main()
    gc.freeze()  # Python would look through all that is left, for half a second, before it ends
    sys.exit(status)


if __name__ == "__main__":
    run()
