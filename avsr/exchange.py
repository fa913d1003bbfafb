"""The commands that take models in and give them out."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from avsr.console import listed


def import_model(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC",
            help="fairseq .pt, or a directory of the Hugging Face port, of AV-HuBERT.",
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Model directory to write.")],
    dictionary: Annotated[
        Path | None,
        typer.Option(help="dict.txt or vocab.json; else the one in SRC or beside it."),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="sentencepiece model; else the one in SRC or beside it."),
    ] = None,
    languages: Annotated[
        str | None,
        typer.Option(help="Codes with commas between; else as MuAViC names its models, or en."),
    ] = None,
    encoder_heads: Annotated[
        int | None,
        typer.Option(min=1, help="Attention heads, for a file of unusual size that lacks them."),
    ] = None,
) -> None:
    """Make a model directory from public AV-HuBERT or MuAViC weights."""
    from avsr.interop import import_model as make

    made = make(
        source,
        out,
        dictionary=dictionary,
        tokenizer=tokenizer,
        languages=listed(languages) or None,
        encoder_heads=encoder_heads,
    )
    print(f"{out}  {made.kind}  {', '.join(made.config.languages)}")
    if made.dropped:
        print(f"left out on purpose, as nothing uses them: {', '.join(made.dropped)}")
    print(f"licence: {made.licence}")


def list_models() -> None:
    """List the models that are bundled, in the cache, and known."""
    from avsr.hub import list_models as find

    rows = [(m.name, m.where, m.size, " ".join(m.languages) or "-", m.licence) for m in find()]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[4]]))


def export_model(
    model: Annotated[Path, typer.Argument(help="Model directory.")],
    out: Annotated[Path, typer.Argument(help="Folder for checkpoint, dictionary and tokenizer.")],
    form: Annotated[
        Literal["fairseq"], typer.Option("--format", help="Whose names the weights get.")
    ] = "fairseq",
) -> None:
    """Write a model without prompts under the names of AV-HuBERT's fairseq checkpoints."""
    from avsr.interop import export_fairseq

    made = export_fairseq(model, out)
    for path in made.files:
        print(path)
    if made.left_out:
        print(f"left out, as {form} has no place for it: {', '.join(made.left_out)}")
