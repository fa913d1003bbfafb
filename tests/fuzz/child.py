"""Run commands in this process, one after the other, as the parent asks for them.

Started as ``python -m tests.fuzz.child FD``: requests are JSON lines on stdin, answers go to the
file descriptor FD. The output of a command goes to ``stdout`` and ``stderr`` in its folder.
"""

import json
import os
import resource
import sys
import traceback

from avsr.cli.app import main
from avsr.runtime.process import tune_process

ADDRESSES = 24 << 30  # bytes: a backstop for the machine, far above what the parent allows


def serve(answers: int) -> None:
    """Run the commands of stdin until it is closed."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tune_process()
    for line in sys.stdin:
        request = json.loads(line)
        status = run(request["folder"], request["arguments"])
        os.write(answers, f"{status}\n".encode())


def run(folder: str, arguments: list[str]) -> int:
    """Run one command in a folder; return its exit status, -1 after an exception."""
    os.chdir(folder)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = -1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    serve(int(sys.argv[1]))
