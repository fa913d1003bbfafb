"""The commands for models: ``import``, ``models`` and ``export``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from avsr.cli.display import print_line, split_list
from avsr.errors import AvsrError
from avsr.runtime.progress import format_bytes

if TYPE_CHECKING:
    from avsr.hub import Listed

MAX_CODES = 12  # languages of a model that a line names


def import_model(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SRC",
            help="Checkpoint of AV-HuBERT or MuAViC: a fairseq .pt file, or a directory of the "
            "Hugging Face port. Or a folder of an ECAPA language-ID model: embedding_model.ckpt, "
            "classifier.ckpt, label_encoder.txt.",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Model directory to write.")],
    dictionary: Annotated[
        Path | None,
        typer.Option(
            help="Vocabulary: a dict.txt or vocab.json. Default: the one in SRC or beside it."
        ),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="SentencePiece model. Default: the one in SRC or beside it."),
    ] = None,
    languages: Annotated[
        str | None,
        typer.Option(
            help="Languages of the model. Default: by the name of SRC, as MuAViC names its models; "
            "otherwise en. Example: de,fr."
        ),
    ] = None,
    encoder_heads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Attention heads of the encoder. Default: as stored in SRC, or by its width.",
        ),
    ] = None,
) -> None:
    """Import public AV-HuBERT, MuAViC or language-ID weights as a model directory.

    Example: avsr import large_vox_433h.pt models/large
    """
    from avsr.interop import import_model as convert

    imported = convert(
        source,
        out,
        dictionary=dictionary,
        tokenizer=tokenizer,
        languages=split_list(languages) or None,
        encoder_heads=encoder_heads,
    )
    codes = ", ".join(dict.fromkeys(imported.config.languages))
    print_line(f"{out}  {imported.kind}  {codes}")
    if imported.dropped:
        print_line(f"not imported, as nothing uses it: {', '.join(imported.dropped)}")
    print_line(f"licence: {imported.licence}")


def list_models() -> None:
    """List the models that you can use and where they are.

    The last rows are files to import; all other names work with --model.
    Exception: a model that only names languages, which is for
    'language_id' in the file of --model-set.

    Example: avsr transcribe --model muavic-es talk.mp4
    """
    from avsr.hub import list_models as find_all

    rows = [(m.name, _place(m), _list_languages(m), m.licence) for m in find_all()]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print_line("  ".join([*cells, row[3]]))


def _place(model: "Listed") -> str:
    """Where a model is, with its size."""
    if model.is_here and model.size is not None:
        return f"{model.where}, {format_bytes(model.size)}"
    return model.where


def _list_languages(model: "Listed") -> str:
    """Codes of a model's languages, or their number."""
    number = len(model.languages)
    codes = " ".join(model.languages) or "-"
    text = f"{number} languages" if number > MAX_CODES else codes
    return f"{text} (names them only)" if model.kind == "language" else text


def export_model(
    model: Annotated[
        str,
        typer.Argument(
            help="Model to export: a model directory, hf://owner/name, or a name of 'avsr models'."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    form: Annotated[
        Literal["fairseq", "onnx"] | None,
        typer.Option(
            "--format",
            help="Format to write: a checkpoint for fairseq, or graphs for onnxruntime. "
            "Default: fairseq.",
        ),
    ] = None,
    precision: Annotated[
        Literal["bf16", "int8"] | None,
        typer.Option(
            help="Write a model directory of avsr instead, with its matrices in this number format."
        ),
    ] = None,
) -> None:
    """Export a model to fairseq or ONNX, or store it in a smaller number format.

    fairseq: a checkpoint with AV-HuBERT's names, for models without prompts. onnx: a folder of
    graphs, each compared with the original, for 'avsr transcribe --model'.

    Example: avsr export tiny tiny-onnx --format onnx
    """
    from avsr.hub import find_model

    if form is not None and precision is not None:
        raise AvsrError("--format and --precision exclude each other")
    folder = find_model(model)
    if precision is not None:
        from avsr.interop import convert_model

        convert_model(folder, out, precision)
        print_line(str(out))
        return
    if form == "onnx":
        from avsr.interop.onnx_export import export_onnx

        for name, difference in export_onnx(folder, out).items():
            print_line(f"{out / name}.onnx  differs from torch by {difference:.0e} at most")
        return
    from avsr.interop import export_fairseq

    exported = export_fairseq(folder, out)
    for path in exported.files:
        print_line(str(path))
    if exported.left_out:
        print_line(f"not exported, as fairseq does not support it: {', '.join(exported.left_out)}")
