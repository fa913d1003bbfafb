"""The command line as a process of its own: ``avsr``, or ``python -m avsr``."""

import gc
import sys

from avsr.cli.display import print_error
from avsr.runtime.interrupts import handle_stops, stop_status
from avsr.runtime.process import tune_process
from avsr.runtime.streams import CLOSED_PIPE, stdout_failure


def main() -> int:
    """Run one command; the modules, which take 0.3 s, are imported while Ctrl-C is heeded."""
    from avsr.cli import app

    return app.main()


def run() -> None:
    """Run one command and end the process with its status."""
    handle_stops()
    tune_process()
    if sys.argv[1:2] == ["train"]:
        from avsr.runtime import malloc

        malloc.disable_malloc_trim()
    try:
        status = main()
    except KeyboardInterrupt:  # while modules are imported, or again while work is cleaned up
        print_error("stopped")
        status = stop_status()
    failure = stdout_failure()
    if isinstance(failure, BrokenPipeError):  # as in "| head -1": no error, and nothing to say
        status = CLOSED_PIPE
    elif failure is not None:
        print_error(f"stdout cannot be written ({failure.strerror})")
        status = status or 1
    gc.freeze()  # Python would look through all that is left, for half a second, before it ends
    sys.exit(status)


if __name__ == "__main__":
    run()
