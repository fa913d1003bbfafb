"""The commands of corpora: synthesize, validate, balance, prepare."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from avsr.cli.display import print_error, show_progress, split_list
from avsr.errors import AvsrError


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
    from avsr.languages import MUAVIC_LANGUAGES
    from avsr.synthetic import synthesize as make
    from avsr.synthetic.text import LANGUAGES

    with show_progress() as progress:
        summary = make(
            out,
            languages=_codes(languages, LANGUAGES) or MUAVIC_LANGUAGES,
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
    corpus: Annotated[
        str,
        typer.Argument(help="Kind of SOURCE: grid, lrs3, manifest, muavic, synthetic, ..."),
    ],
    source: Annotated[Path, typer.Argument(help="The corpus's folder, or a manifest.")],
    out: Annotated[Path, typer.Argument(help="Folder to write shards and manifests into.")],
    split: Annotated[
        str | None, typer.Option(help="Prepare this split only, for example 'train'.")
    ] = None,
    valid_speakers: Annotated[
        str,
        typer.Option(help="GRID: speakers kept for validation, with commas, for example 's2,s3'."),
    ] = "",
    test_speakers: Annotated[
        str, typer.Option(help="GRID: speakers kept for testing, with commas.")
    ] = "",
    languages: Annotated[
        str | None,
        typer.Option(help="MuAViC: codes with commas, for example 'de,fr'. Default: all."),
    ] = None,
    video: Annotated[bool, typer.Option(help="Crop the lips, or take the sound only.")] = True,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 1,
    cluster: Annotated[
        str | None,
        typer.Option(help="Ray cluster to use instead: HOST:PORT, 'auto' or 'local'."),
    ] = None,
) -> int:
    """Cut recordings into shards for training. Run it again to continue after an interruption."""
    from avsr.corpus.prepare import CropReader, MediaReader
    from avsr.corpus.prepare import prepare as write_split
    from avsr.corpus.readers import READERS, ReadOptions, read_corpus

    options = ReadOptions(
        languages=split_list(languages) or None,
        valid_speakers=split_list(valid_speakers),
        test_speakers=split_list(test_speakers),
    )
    records = read_corpus(corpus, source, options)
    root = source.parent if source.is_file() else source
    reader: type[MediaReader] = CropReader if READERS[corpus].has_crops else MediaReader
    status = 0
    for name in [split] if split else sorted({record.split for record in records}):
        with show_progress() as progress:
            result = write_split(
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
        print(f"{name}  {len(result.records)} utterances")
        for failure in result.failures:
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
