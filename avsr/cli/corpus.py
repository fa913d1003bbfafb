"""The commands for corpora: ``synthesize``, ``validate``, ``balance`` and ``prepare``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from avsr.cli.display import print_error, print_line, show_progress, split_list
from avsr.cli.options import WorkersOption
from avsr.errors import AvsrError, CorpusError


def synthesize(
    out: Annotated[Path, typer.Argument(help="Folder to write the corpus into.")],
    hours: Annotated[float, typer.Option(min=0.0, help="Hours of training speech, in total.")],
    languages: Annotated[
        str | None,
        typer.Option(help="Languages. Default: the nine of MuAViC. Example: en,de."),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Random seed: the same seed gives the same corpus.")
    ] = 0,
    valid_hours: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Hours of validation speech, in total. Default: 5 % of --hours, at most 0.5.",
        ),
    ] = None,
    clips: Annotated[int, typer.Option(min=0, help="Number of test videos per language.")] = 50,
    video_fraction: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Share of utterances in shards that have video."),
    ] = 1.0,
    word_exponent: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Words of training texts are drawn by their frequency to this power: 1 is as in "
            "real text, 0 draws all words equally often.",
        ),
    ] = 1.0,
    words: Annotated[
        int,
        typer.Option(
            help="Size of the vocabulary: the most frequent words of each language, up to 10000."
        ),
    ] = 1000,
    texts: Annotated[
        str,
        typer.Option(
            help="What is said: 'words' drawn by their frequency, English sentences of 'grid', or "
            "a folder with LANGUAGE.txt, one sentence per line."
        ),
    ] = "words",
    shares: Annotated[
        str | None,
        typer.Option(
            help="Shares of training utterances, one number per language. Default: equal. "
            "Example: 3,1."
        ),
    ] = None,
    renderers: Annotated[
        str,
        typer.Option(
            help="What draws the heads; each utterance takes one of several. 'drawn' heads are for "
            "tests: with --hours 0 only. Example: photo."
        ),
    ] = "photo",
    synthesizer: Annotated[
        str,
        typer.Option(
            help="What speaks: 'espeak-ng', or for tests, with --hours 0 only, 'pico' (de, en, es, "
            "fr, it)."
        ),
    ] = "espeak-ng",
    workers: WorkersOption = 1,
) -> None:
    """Generate a corpus of talking heads. Run it again to continue after an interruption.

    Example: avsr synthesize corpus --hours 2 --languages en,de
    """
    from avsr.languages import MUAVIC_LANGUAGES
    from avsr.synthetic import synthesize as generate
    from avsr.synthetic.text import SPOKEN_LANGUAGES

    with show_progress() as progress:
        summary = generate(
            out,
            languages=_codes(languages, SPOKEN_LANGUAGES) or MUAVIC_LANGUAGES,
            hours=hours,
            seed=seed,
            valid_hours=valid_hours,
            clips=clips,
            video_fraction=video_fraction,
            word_exponent=word_exponent,
            words=words,
            texts=texts,
            shares=_numbers(shares),
            renderers=split_list(renderers),
            synthesizer=synthesizer,
            workers=workers,
            progress=progress,
        )
    for part, count in summary["utterances"].items():
        print_line(f"{part}  {count} utterances  {summary['seconds'][part] / 3600:.2f} h")


def validate(
    manifest: Annotated[
        Path, typer.Argument(help="Manifest to check: JSON lines or CSV, one utterance per line.")
    ],
    languages: Annotated[
        str | None,
        typer.Option(help="Languages that may occur. Default: all of ISO 639-1. Example: de,fr."),
    ] = None,
    media: Annotated[
        bool, typer.Option(help="Open the media files, and compare times with their durations.")
    ] = True,
) -> int:
    """Check a manifest and print every broken record; the exit status is 1 if there is one.

    Example: avsr validate corpus/train.jsonl --languages de,fr
    """
    from avsr.corpus import validate_manifest

    codes = split_list(languages) or None
    count, broken = validate_manifest(manifest, languages=codes, check_media=media)
    for entry in broken:
        name = f"record {entry.utterance_id} " if entry.utterance_id else ""
        print_line(f"{manifest}:{entry.line}: {name}{', '.join(entry.problems)}")
    print_line(f"{count} records, {len(broken)} broken")
    return 1 if broken else 0


def balance(
    manifests: Annotated[list[Path], typer.Argument(help="Manifests, JSON lines or CSV.")],
    split: Annotated[str, typer.Option(help="Split to count.")] = "train",
    plot: Annotated[
        Path | None, typer.Option(help="Also plot the balance into this PNG file.")
    ] = None,
) -> None:
    """Print hours, share and training weight of each language of a corpus.

    Example: avsr balance corpus/train.jsonl --plot balance.png
    """
    from avsr.corpus import balance_table, language_balance, plot_balance, read_manifest

    records = [record for manifest in manifests for record in read_manifest(manifest)]
    counted = [record for record in records if record.split == split]
    if records and not counted:
        others = ", ".join(sorted({record.split for record in records}))
        raise CorpusError(f"there are no records of the split '{split}': choose --split ({others})")
    rows = language_balance(counted)
    for line in balance_table(rows).rstrip("\n").split("\n"):
        print_line(line)
    if plot is not None:
        plot_balance(rows, plot)


def prepare(
    corpus: Annotated[
        str,
        typer.Argument(help="Kind of corpus: grid, lrs3, manifest, muavic or synthetic."),
    ],
    source: Annotated[Path, typer.Argument(help="Folder of the corpus, or a manifest.")],
    out: Annotated[Path, typer.Argument(help="Folder to write shards and manifests into.")],
    split: Annotated[
        str | None, typer.Option(help="Prepare only this split. Default: all. Example: train.")
    ] = None,
    valid_speakers: Annotated[
        str,
        typer.Option(help="Speakers of the validation split, for GRID only. Example: s2,s3."),
    ] = "",
    test_speakers: Annotated[
        str, typer.Option(help="Speakers of the test split, for GRID only. Example: s1.")
    ] = "",
    languages: Annotated[
        str | None,
        typer.Option(help="Languages to prepare, for MuAViC only. Default: all. Example: de,fr."),
    ] = None,
    video: Annotated[
        bool, typer.Option(help="Crop the lips; --no-video takes the audio only.")
    ] = True,
    workers: WorkersOption = 1,
    cluster: Annotated[
        str | None,
        typer.Option(help="Ray cluster to use instead: HOST:PORT, 'auto' or 'local'."),
    ] = None,
) -> int:
    """Cut recordings into shards for training. Run it again to continue after an interruption.

    Example: avsr prepare grid /data/grid shards --valid-speakers s2,s3
    """
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
        print_line(f"{name}  {len(result.records)} utterances")
        for failure in result.failures:
            status = 1
            print_error(f"{failure.utterance_id}: {failure.reason}")
    return status


def _numbers(text: str | None) -> list[float] | None:
    """``"60, 40"`` -> [60.0, 40.0]."""
    try:
        return [float(part) for part in split_list(text)] or None
    except ValueError as error:
        raise AvsrError(f"'{text}' is not a list of numbers") from error


def _codes(languages: str | None, known: Sequence[str]) -> list[str] | None:
    """``"en, de"`` -> ["en", "de"], each of them checked to be in ``known``."""
    from avsr.languages import check_languages

    return None if languages is None else list(check_languages(languages, tuple(known)))
