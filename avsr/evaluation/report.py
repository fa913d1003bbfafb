"""A run's scores for readers: results.json, report.md, and report.html in one file."""

import html
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from avsr.corpus import read_manifest
from avsr.errors import AvsrError
from avsr.evaluation.compare import Difference, lips_gain
from avsr.evaluation.plots import NAMES, plot_confusion, plot_languages, plot_snr, svg
from avsr.evaluation.published import paper_rows
from avsr.evaluation.results import Run, read_run, results
from avsr.evaluation.scores import UtteranceResult, word_errors
from avsr.evaluation.text import normalize_text
from avsr.evaluation.word_timing import NEAR_MS
from avsr.runtime.atomic_files import replace_text

WORST = 20  # utterances that the report shows
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
td, th { padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: right; }
td { white-space: nowrap; } td.text { white-space: normal; }
td:first-child, th:first-child, td.text { text-align: left; }
h2 { margin-top: 2.5rem; } code { font-size: .85em; } svg { max-width: 100%; height: auto; }
"""


def write_report(folder: str | os.PathLike[str]) -> Path:
    """Write results.json, report.md and report.html into a run's folder; return the last."""
    run = read_run(folder)
    scores = results(run)
    gains = lips_gain(run)
    text = json.dumps(scores, indent=2, ensure_ascii=False) + "\n"
    replace_text(run.folder / "results.json", text)
    replace_text(run.folder / "report.md", markdown(run, scores, gains))
    replace_text(run.folder / "report.html", page(run, scores, gains))
    return run.folder / "report.html"


def describe(cell: Mapping[str, Any]) -> str:
    """A condition in words."""
    parts = [NAMES[cell["modality"]]]
    noise = cell["noise"]
    parts.append("clean" if noise is None else f"{noise['kind']} at {noise['snr_db']:g} dB")
    if cell["picture"]:
        parts.append(cell["picture"])
    if cell["mode"] != "auto":
        parts.append(f"language {cell['mode']}")
    return ", ".join(parts)


def rate_rows(
    scores: Mapping[str, Any], key: str, languages: Sequence[str]
) -> Iterator[tuple[str, list[str]]]:
    """(condition, a rate in % of each language and on average) of every cell."""
    for cell in scores["cells"].values():
        rates = [cell["by_language"].get(code, {}).get(key) for code in languages]
        average = percent(cell["average"][key])
        bounds = cell["average"].get(f"{key}_interval")
        if bounds:
            average += f" ({100 * bounds[0]:.1f}-{100 * bounds[1]:.1f})"
        yield describe(cell), [*(percent(rate) for rate in rates), average]


def percent(rate: float | None) -> str:
    """``0.123`` -> ``12.3``."""
    return "-" if rate is None else f"{100 * rate:.1f}"


def tables(
    run: Run, scores: Mapping[str, Any], gains: Sequence[Difference]
) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """(title, columns, rows) of everything that the report shows as a table."""
    cells = scores["cells"]
    languages = sorted({code for cell in cells.values() for code in cell["by_language"]})
    columns = ["", *languages, "average (95 %)"]
    words = [[name, *rates] for name, rates in rate_rows(scores, "wer", languages)]
    if run.about["paper"] == "muavic":
        for name, rates in paper_rows(languages):
            words.append([name, *("-" if r is None else f"{r:.2f}" for r in rates)])
    yield "Word error rate, %", columns, words
    yield (
        "Character error rate, %",
        columns,
        [[name, *rates] for name, rates in rate_rows(scores, "cer", languages)],
    )
    yield (
        "Words substituted, deleted, inserted, % of the reference",
        ["", "substituted", "deleted", "inserted"],
        [[describe(cell), *edits(cell)] for cell in cells.values()],
    )
    yield (
        "Language right, %",
        [*columns[:-1], "average", "among best 2", "calibration error"],
        [
            [
                describe(cell),
                *(percent(cell["by_language"][c]["language_accuracy"]) for c in languages),
                percent(cell["average"]["language_accuracy"]),
                percent(cell["identification"]["nbest_accuracy"]["2"]),
                f"{cell['identification']['calibration_error']:.3f}",
            ]
            for cell in cells.values()
            if cell["identification"] is not None
        ],
    )
    lengths: list[str] = next(
        (list(c["identification"]["by_length"]) for c in cells.values() if c["identification"]), []
    )
    yield (
        "Language right by length of the clip, % (clips)",
        ["", *lengths],
        [
            [
                describe(cell),
                *(
                    f"{percent(row['accuracy'])} ({row['utterances']})"
                    for row in cell["identification"]["by_length"].values()
                ),
            ]
            for cell in cells.values()
            if cell["identification"] is not None
        ],
    )
    timed = [cell for cell in cells.values() if cell["word_times"]]
    if timed:
        yield (
            "Starts and ends of the words that were understood",
            ["", "median error, ms", f"within {NEAR_MS} ms, %", "boundaries"],
            [
                [
                    describe(cell),
                    f"{cell['word_times']['median_ms']:.0f}",
                    percent(cell["word_times"]["near"]),
                    str(cell["word_times"]["boundaries"]),
                ]
                for cell in timed
            ],
        )
    if gains:
        yield (
            "What the lips change: WER with them less WER without, points",
            ["", "sound", "sound and lips", "difference (95 %)", "significant"],
            [
                [
                    gain.name,
                    *(percent(rate) for rate in gain.rates),
                    difference_text(gain),
                    "yes" if gain.significant else "no",
                ]
                for gain in gains
            ],
        )
    timing = run.timing
    if timing:
        yield (
            "Seconds of work",
            ["", "seconds"],
            [
                [describe(cells[name]) if name in cells else "shared by all", f"{seconds:.1f}"]
                for name, seconds in timing.items()
                if name in cells or name == "shared"
            ],
        )


def difference_text(gain: Difference) -> str:
    """``-12.3 (-14.0 to -10.1)``, in points."""
    shown = f"{100 * gain.difference:+.1f}"
    if gain.bounds is not None:
        shown += f" ({100 * gain.bounds[0]:+.1f} to {100 * gain.bounds[1]:+.1f})"
    return shown


def edits(cell: Mapping[str, Any]) -> list[str]:
    """Shares of the three kinds of word errors, over all languages."""
    rows = cell["by_language"].values()
    words = sum(row["words"] for row in rows)
    return [
        percent(sum(row[kind] for row in rows) / words if words else None)
        for kind in ("substitutions", "deletions", "insertions")
    ]


def markdown(run: Run, scores: Mapping[str, Any], gains: Sequence[Difference]) -> str:
    """The report as Markdown."""
    lines = [f"# {headline(run)}", "", *(f"- {fact}" for fact in facts(run)), ""]
    for title, columns, rows in tables(run, scores, gains):
        lines += [f"## {title}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        lines.append("")
    return "\n".join(lines)


def headline(run: Run) -> str:
    """What was evaluated on what."""
    return f"{run.about['model']['name']} on {run.about['manifest']['name']}"


def facts(run: Run) -> list[str]:
    """What a second person needs to get the same numbers."""
    model, manifest = run.about["model"], run.about["manifest"]
    noise = json.loads((run.folder / "noise.json").read_text("utf-8"))
    sources = {kind: source["source"] for kind, source in noise["kinds"].items()}
    part = [
        f"{name} {value if isinstance(value, int | str) else ', '.join(value)}"
        for name, value in manifest.items()
        if name in ("split", "languages", "limit") and value is not None
    ]
    return [
        f"model: weights {(model['weights'] or 'none')[:12]}, beam {model['beam_size']}, "
        f"CTC weight {model['ctc_weight']:g}, language model weight {model['lm_weight']:g}, "
        f"lips {'put in step with the sound' if model['sync'] else 'as they come'}",
        f"data: {manifest['utterances']} utterances, manifest {manifest['sha256'][:12]}"
        + (f" ({'; '.join(part)})" if part else ""),
        "noise: "
        + (", ".join(f"{kind} ({source})" for kind, source in sources.items()) or "none")
        + f", seed {noise['seed']}, ratio over the {noise['snr_over']}, `noise.json` "
        + run.about["noise"][:12],
        "texts: lower case, no punctuation, version "
        + f"{run.about['normalization']} of the normalisation",
        "averages: every language counts the same; intervals: 95 %, bootstrap over utterances",
        "versions: " + ", ".join(f"{k} {v}" for k, v in run.about["versions"].items()),
    ]


def page(run: Run, scores: Mapping[str, Any], gains: Sequence[Difference]) -> str:
    """The report as one HTML file that needs no other."""
    cells = scores["cells"]
    modes = list(dict.fromkeys(cell["mode"] for cell in cells.values()))
    kinds = list(dict.fromkeys(c["noise"]["kind"] for c in cells.values() if c["noise"]))
    figures = [plot_snr(cells, kind, mode) for mode in modes for kind in kinds]
    figures.append(plot_languages(cells, modes[0]))
    first = next((c for c in cells.values() if c["identification"]), None)
    parts = [f"<h1>{html.escape(headline(run))}</h1>", "<ul>"]
    parts += [f"<li>{html.escape(fact.replace('`', ''))}</li>" for fact in facts(run)]
    parts.append("</ul>")
    parts += [svg(figure) for figure in figures if figure is not None]
    if first is not None:
        confusion = first["identification"]["confusion"]
        codes = sorted(set(confusion) | {code for row in confusion.values() for code in row})
        parts.append(f"<h2>Languages taken for others, {html.escape(describe(first))}, %</h2>")
        parts.append(svg(plot_confusion(confusion, codes)))
    for title, columns, rows in tables(run, scores, gains):
        parts.append(f"<h2>{html.escape(title)}</h2><table><tr>")
        parts += [f"<th>{html.escape(column)}</th>" for column in columns]
        for row in rows:
            shown = "".join(f"<td>{html.escape(value)}</td>" for value in row)
            parts.append(f"</tr><tr>{shown}")
        parts.append("</tr></table>")
    parts += worst_utterances(run)
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f"<title>{html.escape(headline(run))}</title><style>{STYLE}</style></head><body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )


def worst_utterances(run: Run) -> Iterator[str]:
    """Those with most word errors in the first condition, with links to their clips."""
    if not run.cells:
        return
    name, outcomes = next(iter(run.cells.items()))
    media = clip_files(run)

    def errors(outcome: UtteranceResult) -> int:
        said = normalize_text(outcome.reference, outcome.language)
        return word_errors(said, normalize_text(outcome.hypothesis, outcome.language)).errors

    worst = sorted(outcomes, key=lambda o: (-errors(o), o.utterance_id))[:WORST]
    condition = describe(run.about["cells"][name])
    yield f"<h2>Most word errors, {html.escape(condition)}</h2><table>"
    yield "<tr><th>clip</th><th>errors</th><th>language</th><th>said</th><th>understood</th></tr>"
    for outcome in worst:
        shown = html.escape(outcome.utterance_id)
        if outcome.utterance_id in media:
            link = html.escape(media[outcome.utterance_id], quote=True)
            shown = f"<a href='{link}'>{shown}</a>"
        heard = outcome.language
        if outcome.detected not in (None, outcome.language):
            heard += f" taken for {outcome.detected}"
        texts = (outcome.reference, outcome.hypothesis or outcome.failure or "")
        yield f"<tr><td>{shown}</td><td>{errors(outcome)}</td><td>{html.escape(heard)}</td>"
        yield from (f"<td class='text' dir='auto'>{html.escape(text)}</td>" for text in texts)
        yield "</tr>"
    yield "</table>"


def clip_files(run: Run) -> dict[str, str]:
    """Where each utterance's clip lies, from the run's folder; nothing if the manifest is gone."""
    folder = Path(run.about["media"])
    try:
        records = read_manifest(folder / run.about["manifest"]["name"])
    except AvsrError:
        return {}
    return {
        r.utterance_id: Path(os.path.relpath(folder / r.media, run.folder.resolve())).as_posix()
        for r in records
    }
