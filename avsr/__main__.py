"""The command line as a process of its own: ``avsr``, or ``python -m avsr``."""

import gc
import sys

from avsr.cli.app import main
from avsr.runtime.process import tune_process


def run() -> None:
    """Run one command and end the process with its status."""
    tune_process()
    if sys.argv[1:2] == ["train"]:
        from avsr.runtime import malloc

        malloc.disable_malloc_trim()
    status = main()
    gc.freeze()  # Python would look through all that is left, for half a second, before it ends
    sys.exit(status)


if __name__ == "__main__":
    run()
