"""Write the scores of a run for readers: results.json, report.md, and report.html in one file."""

import html
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from avsr.corpus import read_manifest
from avsr.corpus.normalization import normalize_text
from avsr.errors import AvsrError
from avsr.evaluation.compare import Difference, lips_gain
from avsr.evaluation.plots import Conditions, plot_confusion, plot_languages, plot_snr, svg
from avsr.evaluation.report_tables import describe_condition, name_wordless, report_tables
from avsr.evaluation.results import results, without_words
from avsr.evaluation.run_folder import CONDITIONS, Run, read_json, read_run, to_json
from avsr.evaluation.scores import UtteranceResult, word_errors
from avsr.runtime.atomic_files import replace_text

WORST = 20  # utterances with most errors in the report
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
    """Write results.json, report.md and report.html into the folder of a run.

    Args:
        folder: Folder that ``evaluate`` returned.

    Returns:
        Path of report.html.

    Raises:
        ConfigError: It is not the folder of a run.
    """
    run = read_run(folder)
    scores = results(run)
    gains = lips_gain(run)
    replace_text(run.folder / "results.json", to_json(scores))
    replace_text(run.folder / "report.md", markdown(run, scores, gains))
    replace_text(run.folder / "report.html", page(run, scores, gains))
    return run.folder / "report.html"


def markdown(run: Run, scores: Mapping[str, Any], gains: Sequence[Difference]) -> str:
    """Format the report as Markdown."""
    lines = [f"# {headline(run)}", "", *(f"- {fact}" for fact in facts(run)), ""]
    for title, columns, rows in report_tables(run, scores, gains):
        lines += [f"## {title}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        lines.append("")
    return "\n".join(lines)


def headline(run: Run) -> str:
    """Name the model and the data."""
    return f"{run.about['model']['name']} on {run.about['manifest']['name']}"


def facts(run: Run) -> list[str]:
    """List what a second person needs to get the same numbers."""
    model, manifest = run.about["model"], run.about["manifest"]
    noise = read_json(run.folder / "noise.json")
    sources = [f"{kind} ({source['source']})" for kind, source in noise["kinds"].items()]
    selection = [
        f"{name} {value if isinstance(value, int | str) else ', '.join(value)}"
        for name, value in manifest.items()
        if name in ("split", "languages", "limit") and value is not None
    ]
    return [
        f"model: weights {(model['weights'] or 'none')[:12]}, beam {model['beam_size']}, "
        f"CTC weight {model['ctc_weight']:g}, language model weight {model['lm_weight']:g}, "
        f"lips {'synchronised with the sound' if model['sync'] else 'not synchronised'}, "
        f"{'left out where they mislead' if model.get('check') else 'always read'}",
        f"data: {manifest['utterances']} utterances, manifest {manifest['sha256'][:12]}"
        + (f" ({'; '.join(selection)})" if selection else ""),
        f"noise: {', '.join(sources) or 'none'}, seed {noise['seed']}, "
        f"ratio over the {noise['snr_over']}, `noise.json` {run.about['noise'][:12]}",
        f"texts: lower case, no punctuation, normalisation version {run.about['normalization']}",
        *name_wordless(without_words(next(iter(run.conditions.values()), []))),
        "averages: every language has the same weight; intervals: 95 %, bootstrap over utterances",
        "versions: " + ", ".join(f"{k} {v}" for k, v in run.about["versions"].items()),
    ]


def page(run: Run, scores: Mapping[str, Any], gains: Sequence[Difference]) -> str:
    """Format the report as one HTML file that needs no other file."""
    title = html.escape(headline(run))
    parts = [f"<h1>{title}</h1>", "<ul>"]
    parts += [f"<li>{html.escape(fact.replace('`', ''))}</li>" for fact in facts(run)]
    parts.append("</ul>")
    parts += html_figures(scores[CONDITIONS])
    for table_title, columns, rows in report_tables(run, scores, gains):
        parts.append(f"<h2>{html.escape(table_title)}</h2><table><tr>")
        parts += [f"<th>{html.escape(column)}</th>" for column in columns]
        for row in rows:
            cells = "".join(f"<td>{html.escape(value)}</td>" for value in row)
            parts.append(f"</tr><tr>{cells}")
        parts.append("</tr></table>")
    parts += worst_utterances(run)
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f"<title>{title}</title><style>{STYLE}</style></head><body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )


def html_figures(conditions: Conditions) -> Iterator[str]:
    """Yield the plots: WER over noise and by language, and the first confusion matrix."""
    language_modes = list(dict.fromkeys(c["language_mode"] for c in conditions.values()))
    kinds = list(dict.fromkeys(c["noise"]["kind"] for c in conditions.values() if c["noise"]))
    figures = [plot_snr(conditions, kind, mode) for mode in language_modes for kind in kinds]
    if language_modes:
        figures.append(plot_languages(conditions, language_modes[0]))
    yield from (svg(figure) for figure in figures if figure is not None)
    first = next((c for c in conditions.values() if c["identification"]), None)
    if first is not None:
        confusion = first["identification"]["confusion"]
        codes = sorted(set(confusion) | {code for row in confusion.values() for code in row})
        yield f"<h2>Confusions of languages, {html.escape(describe_condition(first))}, %</h2>"
        yield svg(plot_confusion(confusion, codes))


def worst_utterances(run: Run) -> Iterator[str]:
    """Yield a table of the utterances with most word errors in the first condition."""
    if not run.conditions:
        return
    name, utterances = next(iter(run.conditions.items()))
    media = clip_files(run)

    def errors(utterance: UtteranceResult) -> int:
        reference = normalize_text(utterance.reference, utterance.language)
        hypothesis = normalize_text(utterance.hypothesis, utterance.language)
        return word_errors(reference, hypothesis).errors

    worst = sorted(utterances, key=lambda u: (-errors(u), u.utterance_id))[:WORST]
    condition = describe_condition(run.about[CONDITIONS][name])
    yield f"<h2>Most word errors, {html.escape(condition)}</h2><table>"
    yield "<tr><th>clip</th><th>errors</th><th>language</th><th>reference</th>"
    yield "<th>transcript</th></tr>"
    for utterance in worst:
        clip = html.escape(utterance.utterance_id)
        if utterance.utterance_id in media:
            link = html.escape(media[utterance.utterance_id], quote=True)
            clip = f"<a href='{link}'>{clip}</a>"
        language = utterance.language
        if utterance.detected not in (None, utterance.language):
            language += f" taken for {utterance.detected}"
        texts = (utterance.reference, utterance.hypothesis or utterance.failure or "")
        yield f"<tr><td>{clip}</td><td>{errors(utterance)}</td><td>{html.escape(language)}</td>"
        yield from (f"<td class='text' dir='auto'>{html.escape(text)}</td>" for text in texts)
        yield "</tr>"
    yield "</table>"


def clip_files(run: Run) -> dict[str, str]:
    """Find each utterance's media file, relative to the run; empty if the manifest is missing."""
    folder = Path(run.about["media"])
    try:
        records = read_manifest(folder / run.about["manifest"]["name"])
    except AvsrError:
        return {}
    return {
        r.utterance_id: Path(os.path.relpath(folder / r.media, run.folder.resolve())).as_posix()
        for r in records
    }
