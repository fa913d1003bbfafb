"""The command line. Results go to stdout, everything else to stderr.

Exit status: 0 all good, 1 some files failed, 2 wrong use, 128 + n stopped by signal n
(130: Ctrl-C, 143: SIGTERM, 129: SIGHUP), 141 as nobody reads stdout any more.
"""

import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import typer
from typer.exceptions import TyperException

from avsr.cli import calibrate, corpus, crop, demo, evaluate, models, train, transcribe
from avsr.cli.display import STOPPED, format_unexpected, print_error, print_line, show_log
from avsr.errors import AvsrError
from avsr.runtime.addresses import explain_no_file
from avsr.runtime.extras import explain_missing
from avsr.runtime.interrupts import stop_status
from avsr.runtime.safe_names import show_name
from avsr.runtime.streams import CLOSED_PIPE, stdout_failure

app = typer.Typer(
    name="avsr",
    help="Write down what a person in a video says, from the sound and the lips.",
    epilog="Exit status: 0 all good, 1 some files failed, 2 wrong use, 128 + n stopped by signal n "
    "(130: Ctrl-C).",
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; every error is one line on stderr."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    show_log()
    for before, name in pairwise(["", *arguments]):
        is_argument = not before.startswith("-")  # of an option it may be the address of a model
        if is_argument and not os.path.exists(name) and (reason := explain_no_file(name)):
            print_error(reason)
            return 2
    try:
        status = app(arguments or ["--help"], prog_name="avsr", standalone_mode=False)
    except TyperException as error:
        message = " ".join(error.format_message().replace("Value error, ", "").split())
        print_error(f"{message.rstrip('.')} (see 'avsr --help')")
        return 2
    except AvsrError as error:
        print_error(str(error))
        return 2
    except (KeyboardInterrupt, typer.Abort) as error:
        if isinstance(error.__cause__, EOFError):  # typer takes it for the end of what is typed
            return _report_bug(error.__cause__)
        status = STOPPED
    except SystemExit as end:  # how typer and rich end when nobody reads stdout any more
        is_closed = isinstance(stdout_failure(), BrokenPipeError)
        return CLOSED_PIPE if is_closed else int(end.code or 0)
    except Exception as error:
        return _report_bug(error)
    if status == STOPPED:
        status = stop_status()
        print_error("stopped")
    return 2 if not arguments else int(status or 0)


def _report_bug(error: Exception) -> int:
    """Describe a bug, a missing package or a strange file in one line; on demand in full."""
    if os.environ.get("AVSR_DEBUG"):
        raise error
    if isinstance(error, ModuleNotFoundError) and (missing := explain_missing(error)):
        print_error(missing)
        return 2
    if isinstance(error, OSError) and error.filename is not None:  # a file that is in the way
        print_error(f"{show_name(error.filename)}: {error.strerror}")
        return 2
    print_error(f"{format_unexpected(error)}; AVSR_DEBUG=1 shows where")
    return 1


def _version(requested: bool) -> None:
    if requested:
        import avsr

        print_line(f"avsr {avsr.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


for command in (
    transcribe.transcribe,
    crop.crop,
    demo.demo,
    corpus.synthesize,
    corpus.validate,
    corpus.balance,
    corpus.prepare,
    train.train,
    evaluate.evaluate,
    evaluate.compare,
    calibrate.calibrate,
):
    app.command()(command)
app.command(name="import")(models.import_model)
app.command(name="export")(models.export_model)
app.command(name="models")(models.list_models)
