"""The commands that take models in and give them out."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from avsr.cli.display import split_list
from avsr.errors import AvsrError


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
        languages=split_list(languages) or None,
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
    model: Annotated[str, typer.Argument(help="Model directory or bundled name.")],
    out: Annotated[Path, typer.Argument(help="Folder to write into.")],
    form: Annotated[
        Literal["fairseq", "onnx"] | None,
        typer.Option("--format", help="For fairseq (if nothing is said), or for ONNX's runtime."),
    ] = None,
    precision: Annotated[
        Literal["bf16", "int8"] | None,
        typer.Option(help="Instead: a model directory whose matrices are stored so."),
    ] = None,
) -> None:
    """Write a model for other programs, or smaller.

    fairseq: a model without prompts under the names of AV-HuBERT's checkpoints. onnx: a folder of
    graphs, compared with the original one by one; 'avsr transcribe --model' takes it.
    """
    from avsr.hub import find_model

    if form is not None and precision is not None:
        raise AvsrError("--format and --precision exclude each other")
    folder = find_model(model)
    if precision is not None:
        from avsr.interop import convert_model

        convert_model(folder, out, precision)
        print(out)
        return
    if form == "onnx":
        from avsr.interop.onnx_export import export_onnx

        for name, difference in export_onnx(folder, out).items():
            print(f"{out / name}.onnx  differs from torch by {difference:.0e} at most")
        return
    from avsr.interop import export_fairseq

    made = export_fairseq(folder, out)
    for path in made.files:
        print(path)
    if made.left_out:
        print(f"left out, as fairseq has no place for it: {', '.join(made.left_out)}")
