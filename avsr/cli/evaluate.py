"""The commands that score models: evaluate, compare."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from avsr.cli.display import print_error, show_progress, split_list
from avsr.cli.options import DeviceOption, ModelOption

Text = str | None
LISTS = {
    "modality": "modalities",
    "language": "language_modes",
    "languages": "languages",
    "noise": "noises",
    "snr": "snr_db",
    "picture": "pictures",
}


def evaluate(
    source: Annotated[
        Path,
        typer.Argument(metavar="MANIFEST|CONFIG", help="JSON lines or CSV, or an evaluate.yaml."),
    ],
    model: ModelOption = None,
    out: Annotated[
        Text, typer.Option(help="Folder for the folders of runs; 'results' if nothing is said.")
    ] = None,
    modality: Annotated[Text, typer.Option(help="Of av,audio,video; without it all three.")] = None,
    language: Annotated[
        Text, typer.Option(help="'auto' to detect it (default), 'given' by the manifest, a code.")
    ] = None,
    noise: Annotated[
        Text, typer.Option(help="Of babble,speech,music,noise, or a file or folder.")
    ] = None,
    musan: Annotated[
        Text, typer.Option(help="Folder of MUSAN: its test split is the noise.")
    ] = None,
    snr: Annotated[
        Text, typer.Option(help="Ratios in dB and 'clean'; without it clean,-10,-5,0,5,10.")
    ] = None,
    picture: Annotated[
        Text, typer.Option(help="Damages beside 'clean', e.g. clean,occlusion:0.5,blur:3.")
    ] = None,
    languages: Annotated[Text, typer.Option(help="Score these only.")] = None,
    split: Annotated[Text, typer.Option(help="Score this split of the manifest.")] = None,
    limit: Annotated[
        int | None, typer.Option(help="Score the first so many of each language.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same noise.")] = None,
    beam_size: Annotated[int | None, typer.Option(help="Hypotheses that the search keeps.")] = None,
    ctc_weight: Annotated[float | None, typer.Option(help="Share of CTC in the score.")] = None,
    lm_weight: Annotated[
        float | None, typer.Option(help="Weight of the model's language model.")
    ] = None,
    sync: Annotated[
        bool | None, typer.Option(help="Put lips right that run before or behind the sound.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Utterances at a time.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that work.")] = 1,
    cache: Annotated[
        Text, typer.Option(help="Folder that keeps mouth crops for the next evaluation.")
    ] = None,
    noise_manifest: Annotated[
        Text, typer.Option(help="noise.json of another run, whose noise this one must have.")
    ] = None,
    device: DeviceOption = "auto",
    precision: Annotated[
        Text, typer.Option(help="Of matrix products: auto, fp32, bf16 or int8.")
    ] = None,
) -> int:
    """Score a model under noise, by language: a grid of conditions, and a report.

    Lists have commas between. Started again, it goes on where it stopped.
    """
    from avsr import evaluation

    given = {name: value for name, value in locals().items() if value is not None}
    options = {"source", "workers", "device", "evaluation"}
    changes: dict[str, Any] = {}
    for name, value in given.items():
        if name in LISTS:
            changes[LISTS[name]] = tuple(
                _ratio(v) if name == "snr" else v for v in split_list(value)
            )
        elif name not in options:
            changes[name] = value
    if source.suffix in (".yaml", ".yml"):
        config = replace(evaluation.read_evaluation_config(source), **changes)
    else:
        config = evaluation.EvaluationConfig(manifest=str(source), **changes)
    with show_progress() as progress:
        folder = evaluation.evaluate(config, device=device, workers=workers, progress=progress)
    report = evaluation.write_report(folder)
    scores = json.loads((folder / "results.json").read_text("utf-8"))["cells"]
    failed = _print_scores([scores[cell.name] for cell in config.cells()])
    print(report)
    return 1 if failed else 0


def _ratio(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # "clean"; the config complains of others


def _print_scores(cells: Sequence[Mapping[str, Any]]) -> bool:
    """A line per condition and, of a single one, per language; say whether utterances failed."""
    from avsr.evaluation.report import describe

    width = max(len(describe(cell)) for cell in cells) + 2
    print(f"{'':{width}}{'utterances':>10}{'WER':>8}{'CER':>8}{'language':>10}")
    failed: dict[str, str] = {}
    for cell in cells:
        rows = cell["by_language"] if len(cells) == 1 else {}
        counted = {**rows, describe(cell): {**cell["average"], "utterances": cell["utterances"]}}
        for title, row in counted.items():
            rates = [row["wer"], row["cer"], row["language_accuracy"]]
            shown = ["-" if rate is None else f"{rate:.1%}" for rate in rates]
            print(f"{title:{width}}{row['utterances']:10}{shown[0]:>8}{shown[1]:>8}{shown[2]:>10}")
        failed |= {entry["utterance_id"]: entry["reason"] for entry in cell["failed"]}
    for utterance_id, reason in failed.items():
        print_error(f"{utterance_id}: {reason}")
    return bool(failed)


def compare(
    first: Annotated[Path, typer.Argument(help="Folder of a run.")],
    second: Annotated[Path, typer.Argument(help="Folder of a run with the same data and noise.")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Tell whether the second run errs less than the first, condition by condition.

    Differences of WER in points with 95 % intervals, by a bootstrap over the same utterances.
    """
    from avsr.evaluation import compare_runs, read_run
    from avsr.evaluation.report import describe, difference_text, percent

    runs = read_run(first), read_run(second)
    found = compare_runs(*runs)
    if as_json:
        print(json.dumps({d.name: d.to_dict() for d in found}, indent=2))
        return
    titles = [describe(runs[0].about["cells"][d.name]) for d in found]
    width = max(map(len, titles)) + 2
    print(f"{'':{width}}{'first':>8}{'second':>8}  difference (95 %)")
    for title, difference in zip(titles, found, strict=True):
        rates = "".join(f"{percent(rate):>8}" for rate in difference.rates)
        mark = "" if difference.significant else "  not significant"
        print(f"{title:{width}}{rates}  {difference_text(difference)}{mark}")
