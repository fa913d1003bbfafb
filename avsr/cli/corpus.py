"""The commands of corpora: synthesize, validate, balance, prepare."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from avsr.cli.display import print_error, show_progress, split_list
from avsr.errors import AvsrError

CLIP_MANIFESTS = ("test.jsonl", "valid_clips.jsonl")  # of whole clips, not in shards yet


def synthesize(
    out: Annotated[Path, typer.Argument(help="Folder of the corpus.")],
    hours: Annotated[float, typer.Option(min=0.0, help="Hours of training speech in all.")],
    languages: Annotated[
        str | None, typer.Option(help="Codes with commas between; by default all nine.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same corpus.")] = 0,
    clips: Annotated[int, typer.Option(min=0, help="Test videos per language.")] = 50,
    video_fraction: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of utterances that have a picture.")
    ] = 1.0,
    word_exponent: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Training texts: frequency ** this; 0 draws all words alike."
        ),
    ] = 1.0,
    words: Annotated[
        int, typer.Option(help="Most frequent words of a language that texts are made of.")
    ] = 1000,
    shares: Annotated[
        str | None, typer.Option(help="Shares of training utterances, a number per language.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Make a corpus of talking heads; run it again to go on after an interruption."""
    from avsr.languages import LANGUAGES
    from avsr.synthetic import synthesize as make

    with show_progress() as progress:
        summary = make(
            out,
            languages=_codes(languages, LANGUAGES) or LANGUAGES,
            hours=hours,
            seed=seed,
            clips=clips,
            video_fraction=video_fraction,
            word_exponent=word_exponent,
            words=words,
            shares=_numbers(shares),
            workers=workers,
            progress=progress,
        )
    for part, count in summary["utterances"].items():
        print(f"{part}  {count} utterances  {summary['seconds'][part] / 3600:.2f} h")


def validate(
    manifest: Annotated[Path, typer.Argument(help="JSON lines or CSV, one utterance each.")],
    languages: Annotated[
        str | None, typer.Option(help="Codes that may occur, commas between; default: ISO 639-1.")
    ] = None,
    media: Annotated[bool, typer.Option(help="Open the media files to check the times.")] = True,
) -> int:
    """Name every broken record of a manifest; exit 1 if there is one."""
    from avsr.corpus import validate_manifest

    codes = split_list(languages) or None
    count, broken = validate_manifest(manifest, languages=codes, check_media=media)
    for entry in broken:
        name = f"record {entry.utterance_id} " if entry.utterance_id else ""
        print(f"{manifest}:{entry.line}: {name}{', '.join(entry.problems)}")
    print(f"{count} records, {len(broken)} broken")
    return 1 if broken else 0


def balance(
    manifests: Annotated[list[Path], typer.Argument(help="JSON lines or CSV.")],
    split: Annotated[str, typer.Option(help="Split to weigh.")] = "train",
    plot: Annotated[Path | None, typer.Option(help="PNG to draw the balance into.")] = None,
) -> None:
    """Show how a corpus is spread over its languages, and the weights of training."""
    from avsr.corpus import balance_table, language_balance, plot_balance, read_manifest

    records = [record for manifest in manifests for record in read_manifest(manifest)]
    rows = language_balance(record for record in records if record.split == split)
    print(balance_table(rows), end="")
    if plot is not None:
        plot_balance(rows, plot)


def prepare(
    kind: Annotated[
        Literal["grid", "lrs3", "manifest", "muavic", "synthetic"],
        typer.Argument(help="What SOURCE is: see the README."),
    ],
    source: Annotated[Path, typer.Argument(help="The corpus's folder, or a manifest.")],
    out: Annotated[Path, typer.Argument(help="Folder of the corpus.")],
    split: Annotated[str | None, typer.Option(help="Prepare this split only.")] = None,
    valid_speakers: Annotated[
        str, typer.Option(help="GRID: speakers kept for validation, commas between.")
    ] = "",
    test_speakers: Annotated[
        str, typer.Option(help="GRID: speakers kept for testing, commas between.")
    ] = "",
    languages: Annotated[
        str | None, typer.Option(help="MuAViC: codes with commas between; by default all there.")
    ] = None,
    video: Annotated[bool, typer.Option(help="Crop the lips, or take the sound only.")] = True,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    cluster: Annotated[
        str | None, typer.Option(help="Ray cluster that works instead: HOST:PORT, auto or local.")
    ] = None,
) -> int:
    """Cut recordings into shards for training; run it again to go on after an interruption."""
    from avsr.corpus import read_grid, read_lrs3, read_manifest, read_muavic
    from avsr.corpus.prepare import CropReader, MediaReader
    from avsr.corpus.prepare import prepare as make

    if (valid_speakers or test_speakers) and kind != "grid":
        raise AvsrError(f"{kind} says itself which split an utterance is in: name no speakers")
    if languages and kind != "muavic":
        raise AvsrError("--languages is for muavic")
    root = source.parent if kind == "manifest" else source
    reader: type[MediaReader] = CropReader if kind == "muavic" else MediaReader
    if kind == "grid":
        held = [split_list(speakers) for speakers in (valid_speakers, test_speakers)]
        records = read_grid(source, valid_speakers=held[0], test_speakers=held[1])
    elif kind == "lrs3":
        records = read_lrs3(source)
    elif kind == "synthetic":
        clips = [path for path in (source / n for n in CLIP_MANIFESTS) if path.is_file()]
        if not clips:
            raise AvsrError(f"{source} has no {' or '.join(CLIP_MANIFESTS)} of avsr synthesize")
        records = [record for path in clips for record in read_manifest(path)]
    elif kind == "muavic":
        records = read_muavic(source, split_list(languages) or None)
    else:
        records = read_manifest(source)
    status = 0
    for name in [split] if split else sorted({record.split for record in records}):
        with show_progress() as progress:
            made = make(
                records,
                root,
                out,
                name,
                video=video,
                reader=reader,
                workers=workers,
                cluster=cluster,
                progress=progress,
            )
        print(f"{name}  {len(made.records)} utterances")
        for failure in made.failures:
            status = 1
            print_error(f"{failure.utterance_id}: {failure.reason}")
    return status


def _numbers(text: str | None) -> list[float] | None:
    """``"60, 40"`` -> [60.0, 40.0]."""
    try:
        return [float(part) for part in split_list(text)] or None
    except ValueError as error:
        raise AvsrError(f"'{text}' is no list of numbers") from error


def _codes(languages: str | None, known: Sequence[str]) -> list[str] | None:
    """``"en, de"`` -> ["en", "de"], each one of the known."""
    from avsr.languages import check_languages

    return None if languages is None else list(check_languages(languages, tuple(known)))
