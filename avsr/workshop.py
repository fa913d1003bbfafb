"""The commands of the workshop: make corpora, train models, score them."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from avsr.console import (
    BeamOption,
    CtcOption,
    DeviceOption,
    LmOption,
    ModalityOption,
    ModelOption,
    complain,
    listed,
    show_progress,
)
from avsr.errors import AvsrError

if TYPE_CHECKING:
    from avsr.evaluation import Noise
    from avsr.evaluation.config import EvaluationConfig
    from avsr.model import AVSRModel


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

    codes = listed(languages) or None
    count, broken = validate_manifest(manifest, languages=codes, check_media=media)
    for entry in broken:
        name = f"record {entry.utterance_id} " if entry.utterance_id else ""
        print(f"{manifest}:{entry.line}: {name}{', '.join(entry.problems)}")
    print(f"{count} records, {len(broken)} broken")
    return 1 if broken else 0


def balance(
    manifests: Annotated[list[Path], typer.Argument(help="JSON lines or CSV.")],
    split: Annotated[str, typer.Option(help="Split to weigh.")] = "train",
    picture: Annotated[Path | None, typer.Option(help="PNG to draw the balance into.")] = None,
) -> None:
    """Show how a corpus is spread over its languages, and the weights of training."""
    from avsr.corpus import balance_table, language_balance, plot_balance, read_manifest

    records = [record for manifest in manifests for record in read_manifest(manifest)]
    rows = language_balance(record for record in records if record.split == split)
    print(balance_table(rows), end="")
    if picture is not None:
        plot_balance(rows, picture)


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
        held = [listed(speakers) for speakers in (valid_speakers, test_speakers)]
        records = read_grid(source, valid_speakers=held[0], test_speakers=held[1])
    elif kind == "lrs3":
        records = read_lrs3(source)
    elif kind == "synthetic":
        clips = [path for path in (source / n for n in CLIP_MANIFESTS) if path.is_file()]
        if not clips:
            raise AvsrError(f"{source} has no {' or '.join(CLIP_MANIFESTS)} of avsr synthesize")
        records = [record for path in clips for record in read_manifest(path)]
    elif kind == "muavic":
        records = read_muavic(source, listed(languages) or None)
    else:
        records = read_manifest(source)
    status = 0
    for name in [split] if split else sorted({record.split for record in records}):
        with show_progress() as progress:

            def advance(done: int, failed: int, total: int, part: str = name) -> None:
                progress(part, done, total)

            made = make(
                records,
                root,
                out,
                name,
                video=video,
                reader=reader,
                workers=workers,
                cluster=cluster,
                progress=advance,
            )
        print(f"{name}  {len(made.records)} utterances")
        for failure in made.failures:
            status = 1
            complain(f"{failure.utterance_id}: {failure.reason}")
    return status


def train(
    recipe: Annotated[Path, typer.Argument(help="YAML file, as recipes/synthetic/train.yaml.")],
    workers: Annotated[int, typer.Option(min=0, help="Processes that make batches.")] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Try the largest batches and print the plan only.")
    ] = False,
) -> None:
    """Train a model as a recipe says; run it again to go on after an interruption."""
    if dry_run:
        from avsr.training.rehearsal import rehearse

        rehearse(recipe)
        return
    from avsr.training.run import train as run

    model = run(recipe, workers=workers)
    if os.environ.get("LOCAL_RANK", "0") == "0":  # else another process says so
        print(model)


def evaluate(
    context: typer.Context,
    manifest: Annotated[
        Path, typer.Argument(help="JSON lines or CSV; or an evaluate.yaml with all settings.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for scores and transcripts; the condition names the files."),
    ] = None,
    model: ModelOption = None,
    modality: ModalityOption = "av",
    language: Annotated[
        str, typer.Option(help="'auto' to detect it, 'given' by the manifest, or a code.")
    ] = "auto",
    languages: Annotated[
        str | None, typer.Option(help="Score these only: codes with commas between.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Score this split of the manifest.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Score the first so many of each language.")
    ] = None,
    snr: Annotated[
        float | None, typer.Option(help="Add noise at this ratio in dB; without it, clean.")
    ] = None,
    noise: Annotated[
        Literal["babble"], typer.Option(help="Kind of noise: other talkers of the manifest.")
    ] = "babble",
    seed: Annotated[int, typer.Option(help="Same seed, same noise.")] = 0,
    beam_size: BeamOption = 5,
    ctc_weight: CtcOption = 0.3,
    lm_weight: LmOption = 0.4,
    batch_size: Annotated[int, typer.Option(min=1, help="Utterances at a time.")] = 8,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps mouth crops for the next evaluation.")
    ] = None,
    device: DeviceOption = "auto",
) -> int:
    """Score a model on a manifest: error rates and language accuracy, by language."""
    from avsr.evaluation import Noise
    from avsr.evaluation.config import EvaluationConfig, read_evaluation_config
    from avsr.languages import check_language
    from avsr.model import load_model

    if manifest.suffix in (".yaml", ".yml"):
        given = [name for name in context.params if _is_given(context, name)]
        beside = set(given) - {"manifest", "out", "model", "device"}
        if beside:
            named = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(beside))
            raise AvsrError(f"{manifest} says it all but --model, --out, --device: leave {named}")
        config = read_evaluation_config(manifest)
        network = load_model(model or config.model, device)
        cells = list(config.cells())
        folder: Path | None = out or Path(config.out)
    else:
        network = load_model(model, device)
        if language not in ("auto", "given"):
            check_language(language, network.config.languages)
        codes = _codes(languages, network.config.languages)
        config = EvaluationConfig(
            manifest=str(manifest),
            split=split,
            languages=None if codes is None else tuple(codes),
            limit=limit,
            seed=seed,
            beam_size=beam_size,
            ctc_weight=ctc_weight,
            lm_weight=lm_weight,
            batch_size=batch_size,
            cache=None if cache is None else str(cache),
        )
        cells = [(modality, language, None if snr is None else Noise(kind=noise, snr_db=snr))]
        folder = out
    status = 0
    for sense, mode, hiss in cells:
        if len(cells) > 1:
            heard = "clean" if hiss is None else f"{hiss.kind} at {hiss.snr_db:g} dB"
            print(f"{sense}, language {mode}, {heard}")
        status |= _evaluate_cell(
            network,
            config,
            str(model or config.model or "bundled"),
            sense,
            mode,
            hiss,
            folder,
        )
    return status


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _evaluate_cell(
    network: "AVSRModel",
    config: "EvaluationConfig",
    model: str,
    modality: str,
    language: str,
    noise: "Noise | None",
    out: Path | None,
) -> int:
    """One evaluation: its table, its files; 1 if something could not be transcribed."""
    from avsr import evaluation

    options = {name: getattr(config, name) for name in ("beam_size", "ctc_weight", "lm_weight")}
    with show_progress() as progress:
        result = evaluation.evaluate(
            evaluation.model_recognizer(network, **options),
            config.manifest,
            modality=modality,
            language=language,
            noise=noise,
            seed=config.seed,
            split=config.split,
            languages=config.languages,
            limit=config.limit,
            batch_size=config.batch_size,
            cache_dir=config.cache,
            settings={"model": model, "weights": _fingerprint(network), **options},
            progress=lambda done, total: progress("utterances", done, total),
        )
    scores = result.to_dict()
    print(f"{'':8}{'utterances':>12}{'WER':>8}{'CER':>8}{'language':>10}")
    for code, row in {**scores["languages"], "average": scores["average"]}.items():
        rates = [row["wer"], row["cer"], row["language_accuracy"]]
        shown = ["-" if rate is None else f"{rate:.1%}" for rate in rates]
        count = row.get("utterances", scores["utterances"])
        print(f"{code:8}{count:12}{shown[0]:>8}{shown[1]:>8}{shown[2]:>10}")
    if out is not None:
        print(result.save(out))
    for outcome in result.failed:
        complain(f"{outcome.utterance_id}: {outcome.failure}")
    return 1 if result.failed else 0


def _numbers(text: str | None) -> list[float] | None:
    """``"60, 40"`` -> [60.0, 40.0]."""
    try:
        return [float(part) for part in listed(text)] or None
    except ValueError as error:
        raise AvsrError(f"'{text}' is no list of numbers") from error


def _codes(languages: str | None, known: Sequence[str]) -> list[str] | None:
    """``"en, de"`` -> ["en", "de"], each one of the known."""
    from avsr.languages import check_language

    if languages is None:
        return None
    return [check_language(code.strip(), tuple(known)) for code in languages.split(",")]


def _fingerprint(network: "AVSRModel") -> str:
    """Twelve hex digits that tell two sets of weights apart, language models included."""
    from avsr.search import pack_ngrams

    digest = hashlib.sha256()
    for name, weight in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.cpu().contiguous().numpy().tobytes())
    digest.update(pack_ngrams(network.language_models))
    return digest.hexdigest()[:12]
