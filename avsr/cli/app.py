"""The command line. Results go to stdout, everything else to stderr.

Exit status: 0 all good, 1 some files failed, 2 wrong use, 130 stopped by Ctrl-C.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

from avsr.cli import calibrate, corpus, crop, demo, evaluate, models, train, transcribe
from avsr.cli.display import format_unexpected, print_error, show_log
from avsr.errors import AvsrError
from avsr.runtime.extras import explain_missing

app = typer.Typer(
    name="avsr",
    help="Write down what a person in a video says, from the sound and the lips.",
    epilog="Exit status: 0 all good, 1 some files failed, 2 wrong use, 130 stopped by Ctrl-C.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; every error is one line on stderr."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    show_log()
    try:
        status = app(arguments or ["--help"], prog_name="avsr", standalone_mode=False)
    except TyperException as error:
        message = " ".join(error.format_message().replace("Value error, ", "").split())
        print_error(f"{message.rstrip('.')} (see 'avsr --help')")
        return 2
    except AvsrError as error:
        print_error(str(error))
        return 2
    except (KeyboardInterrupt, typer.Abort):
        status = 130
    except Exception as error:  # a bug: say so in one line, the whole story on demand
        if os.environ.get("AVSR_DEBUG"):
            raise
        if isinstance(error, ModuleNotFoundError) and (missing := explain_missing(error)):
            print_error(missing)
            return 2
        print_error(f"{format_unexpected(error)}; AVSR_DEBUG=1 shows where")
        return 1
    if status == 130:
        print_error("stopped")
    return 2 if not arguments else int(status or 0)


def _version(requested: bool) -> None:
    if requested:
        import avsr

        print(f"avsr {avsr.__version__}")
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
