"""Tables of a report: rows of text from the scores of a run."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from avsr.evaluation.compare import Difference
from avsr.evaluation.plots import NAMES, Conditions
from avsr.evaluation.published import paper_rows
from avsr.evaluation.run_folder import CONDITIONS, Run
from avsr.evaluation.word_timing import NEAR_MS

MAX_NAMED = 10  # utterances in one line


class Table(NamedTuple):
    """A table with a title; every row starts with its name."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def report_tables(
    run: Run, scores: Mapping[str, Any], gains: Sequence[Difference]
) -> Iterator[Table]:
    """Make all tables of a report.

    Args:
        run: The run.
        scores: Its ``results``.
        gains: Its ``lips_gain``.
    """
    conditions: Conditions = scores[CONDITIONS]
    codes = {code for condition in conditions.values() for code in condition["by_language"]}
    languages = sorted(codes)
    word_errors = rate_table("Word error rate, %", conditions, "wer", languages)
    if run.about["paper"] == "muavic":
        for name, rates in paper_rows(languages):
            numbers = ("-" if rate is None else f"{rate:.2f}" for rate in rates)
            word_errors.rows.append([name, *numbers])
    yield word_errors
    yield rate_table("Character error rate, %", conditions, "cer", languages)
    yield edit_table(conditions)
    yield language_table(conditions, languages)
    yield clip_length_table(conditions)
    if any(condition["reliability"] for condition in conditions.values()):
        yield reliability_table(conditions, languages)
    if any(condition["word_times"] for condition in conditions.values()):
        yield word_time_table(conditions)
    if gains:
        yield gain_table(gains)
    if run.timing:
        yield timing_table(conditions, run.timing)


def rate_table(title: str, conditions: Conditions, key: str, languages: Sequence[str]) -> Table:
    """Show an error rate, ``wer`` or ``cer``, by language and on average."""
    rows = []
    for condition in conditions.values():
        rates = [condition["by_language"].get(code, {}).get(key) for code in languages]
        average = percent(condition["average"][key])
        interval = condition["average"].get(f"{key}_interval")
        if interval:
            average += f" ({100 * interval[0]:.1f}-{100 * interval[1]:.1f})"
        rows.append([describe_condition(condition), *map(percent, rates), average])
    return Table(title, ["", *languages, "average (95 %)"], rows)


def edit_table(conditions: Conditions) -> Table:
    """Show the three kinds of word errors, over all languages."""
    rows = []
    for condition in conditions.values():
        by_language = condition["by_language"].values()
        words = sum(scores["words"] for scores in by_language)
        shares = [
            percent(sum(scores[kind] for scores in by_language) / words if words else None)
            for kind in ("substitutions", "deletions", "insertions")
        ]
        rows.append([describe_condition(condition), *shares])
    columns = ["", "substituted", "deleted", "inserted"]
    return Table("Words substituted, deleted, inserted, % of the reference", columns, rows)


def language_table(conditions: Conditions, languages: Sequence[str]) -> Table:
    """Show the accuracy of language identification, by language."""
    rows = [
        [
            describe_condition(condition),
            *(
                percent(condition["by_language"].get(code, {}).get("language_accuracy"))
                for code in languages
            ),
            percent(condition["average"]["language_accuracy"]),
            percent(condition["identification"]["nbest_accuracy"]["2"]),
            f"{condition['identification']['calibration_error']:.3f}",
        ]
        for condition in conditions.values()
        if condition["identification"] is not None
    ]
    columns = ["", *languages, "average", "among best 2", "calibration error"]
    return Table("Language correct, %", columns, rows)


def clip_length_table(conditions: Conditions) -> Table:
    """Show the accuracy of language identification, by duration of the clip."""
    by_length = {
        describe_condition(condition): condition["identification"]["by_length"]
        for condition in conditions.values()
        if condition["identification"] is not None
    }
    columns = ["", *next(iter(by_length.values()), {})]
    rows = [
        [name, *(f"{percent(row['accuracy'])} ({row['utterances']})" for row in lengths.values())]
        for name, lengths in by_length.items()
    ]
    return Table("Language correct by duration of the clip, % (clips)", columns, rows)


def reliability_table(conditions: Conditions, languages: Sequence[str]) -> Table:
    """Show how many transcripts are marked as not reliable, by language, and how rightly."""
    rows = []
    for condition in conditions.values():
        if (scores := condition["reliability"]) is None:
            continue
        shares = [percent(scores["by_language"].get(code)) for code in languages]
        area = "-" if scores["auroc"] is None else f"{scores['auroc']:.3f}"
        name, wrong = describe_condition(condition), percent(scores["wrong"])
        rows.append([name, *shares, percent(scores["unreliable"]), wrong, area])
    columns = ["", *languages, "all", "more than half of the words wrong", "AUROC"]
    return Table("Marked as not reliable, %", columns, rows)


def word_time_table(conditions: Conditions) -> Table:
    """Show how precise the times of words are."""
    rows = [
        [
            describe_condition(condition),
            f"{condition['word_times']['median_ms']:.0f}",
            percent(condition["word_times"]["near"]),
            str(condition["word_times"]["boundaries"]),
        ]
        for condition in conditions.values()
        if condition["word_times"]
    ]
    columns = ["", "median error, ms", f"within {NEAR_MS} ms, %", "boundaries"]
    return Table("Start and end times of correctly transcribed words", columns, rows)


def gain_table(gains: Sequence[Difference]) -> Table:
    """Show the difference that the lips make."""
    rows = [
        [
            gain.name,
            *(percent(rate) for rate in gain.rates),
            difference_text(gain),
            "yes" if gain.significant else "no",
        ]
        for gain in gains
    ]
    columns = ["", "sound", "sound and lips", "difference (95 %)", "significant"]
    return Table("Effect of the lips: WER with lips minus WER without, points", columns, rows)


def timing_table(conditions: Conditions, timing: Mapping[str, float]) -> Table:
    """Show the seconds of work of each condition."""
    rows = [
        [
            describe_condition(conditions[name]) if name in conditions else "shared by all",
            f"{seconds:.1f}",
        ]
        for name, seconds in timing.items()
        if name in conditions or name == "shared"
    ]
    return Table("Seconds of work", ["", "seconds"], rows)


def describe_condition(condition: Mapping[str, Any]) -> str:
    """Describe a condition of ``results.json`` in words: ``sound and lips, babble at 0 dB``."""
    parts = [NAMES[condition["modality"]]]
    noise = condition["noise"]
    parts.append("clean" if noise is None else f"{noise['kind']} at {noise['snr_db']:g} dB")
    if condition["video_corruption"]:
        parts.append(condition["video_corruption"])
    if condition["language_mode"] != "auto":
        parts.append(f"language {condition['language_mode']}")
    return ", ".join(parts)


def name_wordless(without_words: Mapping[str, Sequence[str]]) -> list[str]:
    """Say what has no words, as ``results`` lists it: no line, or one."""
    ids, languages = without_words["utterances"], without_words["languages"]
    if not ids:
        return []
    named = ", ".join(ids[:MAX_NAMED]) + (", ..." if len(ids) > MAX_NAMED else "")
    line = f"texts without words: {named}"
    if languages:
        line += f"; {', '.join(languages)} has no other, and the averages leave it out"
    return [line]


def percent(rate: float | None) -> str:
    """Format a rate in %: ``0.123`` -> ``12.3``."""
    return "-" if rate is None else f"{100 * rate:.1f}"


def difference_text(gain: Difference) -> str:
    """Format a difference in points: ``-12.3 (-14.0 to -10.1)``."""
    text = f"{100 * gain.difference:+.1f}"
    if gain.bounds is not None:
        text += f" ({100 * gain.bounds[0]:+.1f} to {100 * gain.bounds[1]:+.1f})"
    return text
