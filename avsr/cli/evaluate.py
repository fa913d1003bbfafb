"""The commands that score models: evaluate and compare."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avsr.cli.display import print_error, print_line, show_progress, split_list
from avsr.cli.options import DeviceOption, ModelOption, WorkersOption
from avsr.errors import AvsrError
from avsr.search.options import BEAM_SIZE, CTC_WEIGHT, LM_WEIGHT

if TYPE_CHECKING:
    from avsr.evaluation import EvaluationConfig

EXTRA = ("matplotlib", "rapidfuzz", "soundfile")  # modules of avsr[evaluate]
Text = str | None


def evaluate(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST|CONFIG",
            help="Manifest (JSON lines or CSV) to score, or an evaluate.yaml with the settings.",
        ),
    ],
    model: ModelOption = None,
    out: Annotated[
        Text,
        typer.Option(help="Folder in which each run gets its own folder. Default: results."),
    ] = None,
    modality: Annotated[
        Text,
        typer.Option(help="Modalities to score. Default: av,audio,video."),
    ] = None,
    language: Annotated[
        Text,
        typer.Option(
            help="Where the language comes from: 'auto' detects it, 'given' takes the manifest's, "
            "a code such as 'de' is used for all. Default: auto. Example: auto,given."
        ),
    ] = None,
    noise: Annotated[
        Text,
        typer.Option(
            help="Noise to mix in: babble, speech, music, noise, or a file or folder. "
            "Default: babble. Example: babble,rain.wav."
        ),
    ] = None,
    musan: Annotated[
        Text,
        typer.Option(
            help="Folder of the MUSAN corpus, whose test split becomes the noise. "
            "Default: the built-in babble and speech."
        ),
    ] = None,
    snr: Annotated[
        Text,
        typer.Option(
            help="Signal-to-noise ratios in dB; 'clean' adds no noise. "
            "Default: clean,-10,-5,0,5,10."
        ),
    ] = None,
    video_corruption: Annotated[
        Text,
        typer.Option(
            help="Corruptions of the video, as KIND:AMOUNT; 'clean' is none. The kinds are "
            "occlusion, blur, resolution, dropped, frozen and offset; 'wrong' are the lips of "
            "another utterance. Default: clean. "
            "Example: clean,occlusion:0.5,blur:3."
        ),
    ] = None,
    languages: Annotated[
        Text, typer.Option(help="Score only these languages. Default: all. Example: de,fr.")
    ] = None,
    split: Annotated[
        Text, typer.Option(help="Score only this split of the manifest. Default: all.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(help="Score at most this many utterances of each language. Default: all."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the noise; the same seed gives the same noise. Default: 0."),
    ] = None,
    beam_size: Annotated[
        int | None,
        typer.Option(help=f"Hypotheses that the beam search keeps. Default: {BEAM_SIZE}."),
    ] = None,
    ctc_weight: Annotated[
        float | None,
        typer.Option(help=f"Weight of the CTC score in the search, 0 to 1. Default: {CTC_WEIGHT}."),
    ] = None,
    lm_weight: Annotated[
        float | None,
        typer.Option(help=f"Weight of the model's language model. Default: {LM_WEIGHT}."),
    ] = None,
    sync: Annotated[
        bool | None,
        typer.Option(help="Correct lips that run ahead of the sound or behind it. Default: sync."),
    ] = None,
    check: Annotated[
        bool | None,
        typer.Option(
            help="Leave out lips that contradict clear sound, as 'avsr transcribe' does. "
            "Default: check."
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Utterances per batch. Default: 8.")
    ] = None,
    workers: WorkersOption = 1,
    cache: Annotated[
        Text,
        typer.Option(
            help="Folder in which mouth crops are kept for the next evaluation. Default: none."
        ),
    ] = None,
    noise_manifest: Annotated[
        Text,
        typer.Option(
            help="File noise.json of another run; stop if the noise of this run is not the same."
        ),
    ] = None,
    device: DeviceOption = "auto",
    precision: Annotated[
        Text,
        typer.Option(
            help="Number format of matrix products: auto, fp32, bf16 or int8. "
            "Default: auto, the format in which the model is stored."
        ),
    ] = None,
) -> int:
    """Score a model under noise and video corruption, by language, and write a report.

    Options that take several values take them with commas between. Started again, an evaluation
    continues where it stopped. Example: avsr evaluate test.jsonl --modality av,audio --snr clean,0
    """
    check_extra()
    from avsr import evaluation

    settings: dict[str, Any] = {
        "model": model,
        "out": out,
        "modalities": _split(modality),
        "language_modes": _split(language),
        "noises": _split(noise),
        "musan": musan,
        "snr_db": None if snr is None else tuple(map(_parse_ratio, split_list(snr))),
        "video_corruptions": _split(video_corruption),
        "languages": _split(languages),
        "split": split,
        "limit": limit,
        "seed": seed,
        "beam_size": beam_size,
        "ctc_weight": ctc_weight,
        "lm_weight": lm_weight,
        "sync": sync,
        "check": check,
        "batch_size": batch_size,
        "cache": cache,
        "noise_manifest": noise_manifest,
        "precision": precision,
    }
    settings = {name: value for name, value in settings.items() if value is not None}
    if source.suffix in (".yaml", ".yml"):
        config = replace(evaluation.read_evaluation_config(source), **settings)
    else:
        config = evaluation.EvaluationConfig(manifest=str(source), **settings)
    return _run(config, device, workers)


def _run(config: "EvaluationConfig", device: str, workers: int) -> int:
    """Evaluate, write the report and print the scores; return the exit status."""
    from avsr import evaluation

    with show_progress() as progress:
        folder = evaluation.evaluate(config, device=device, workers=workers, progress=progress)
    report = evaluation.write_report(folder)
    scores = json.loads((folder / "results.json").read_text("utf-8"))["conditions"]
    failed = _print_scores([scores[condition.name] for condition in config.conditions()])
    print_line(str(report))
    return 1 if failed else 0


def check_extra() -> None:
    """Raise AvsrError if the packages of avsr[evaluate] are not installed."""
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise AvsrError(f"evaluation needs {', '.join(missing)}: pip install 'avsr[evaluate]'")


def _split(text: Text) -> tuple[str, ...] | None:
    return None if text is None else tuple(split_list(text))


def _parse_ratio(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # "clean"; EvaluationConfig refuses all other text


def _print_scores(conditions: Sequence[Mapping[str, Any]]) -> bool:
    """Print the scores of each condition, and of a single one by language.

    Returns:
        Whether utterances failed.
    """
    from avsr.evaluation.report_tables import describe_condition, name_wordless

    width = max(len(describe_condition(condition)) for condition in conditions) + 2
    is_judged = any(condition["reliability"] for condition in conditions)
    head = f"{'':{width}}{'utterances':>10}{'WER':>8}{'CER':>8}{'language':>10}"
    print_line(head + (f"{'unreliable':>12}" if is_judged else ""))
    failed: dict[str, str] = {}
    for condition in conditions:
        flags = condition["reliability"] or {"by_language": {}, "unreliable": None}
        rows = {}
        if len(conditions) == 1:
            for code, scores in condition["by_language"].items():
                rows[code] = {**scores, "unreliable": flags["by_language"].get(code)}
        average = {**condition["average"], "utterances": condition["utterances"]}
        average["unreliable"] = flags["unreliable"]
        for title, row in {**rows, describe_condition(condition): average}.items():
            rates = [row["wer"], row["cer"], row["language_accuracy"]]
            rates += [row["unreliable"]] if is_judged else []
            line = f"{title:{width}}{row['utterances']:10}"
            for rate, column in zip(rates, (8, 8, 10, 12), strict=False):
                line += f"{'-' if rate is None else f'{rate:.1%}':>{column}}"
            print_line(line)
        failed |= {entry["utterance_id"]: entry["reason"] for entry in condition["failed"]}
    for line in name_wordless(conditions[0]["without_words"]):
        print_error(line)
    for utterance_id, reason in failed.items():
        print_error(f"{utterance_id}: {reason}")
    return bool(failed)


def compare(
    first: Annotated[Path, typer.Argument(help="Folder of a run, as 'avsr evaluate' wrote it.")],
    second: Annotated[
        Path, typer.Argument(help="Folder of another run with the same manifest and noise.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compare the word error rates of two runs, condition by condition.

    Differences are second minus first, in points, with 95 % intervals from a bootstrap over the
    same utterances.
    """
    check_extra()
    from avsr.evaluation import compare_runs, read_run
    from avsr.evaluation.report_tables import describe_condition, difference_text, percent

    runs = read_run(first), read_run(second)
    differences = compare_runs(*runs)
    if as_json:
        print(json.dumps({d.name: d.to_dict() for d in differences}, indent=2))
        return
    if left_out := differences[0].left_out:
        print_error(f"the averages leave out {', '.join(left_out)}: no text of it has words")
    titles = [describe_condition(runs[0].about["conditions"][d.name]) for d in differences]
    width = max(map(len, titles)) + 2
    print_line(f"{'':{width}}{'first':>8}{'second':>8}  difference (95 %)")
    for title, difference in zip(titles, differences, strict=True):
        rates = "".join(f"{percent(rate):>8}" for rate in difference.rates)
        mark = "" if difference.significant else "  not significant"
        print_line(f"{title:{width}}{rates}  {difference_text(difference)}{mark}")
