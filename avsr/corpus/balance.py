"""The distribution of a corpus over its languages: ``avsr balance``."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import quantiles

from avsr.corpus.manifest import Record
from avsr.errors import CorpusError
from avsr.rates import FPS
from avsr.runtime.atomic_files import atomic_write

MIN_FRAMES, MAX_FRAMES = 5, 500  # shortest and longest segment in MuAViC's training


@dataclass(frozen=True, kw_only=True)
class LanguageBalance:
    """Amount and lengths of the utterances of one language."""

    language: str
    utterances: int
    hours: float
    share: float
    """r: share of the utterances that are in this language, as in a random batch."""
    gamma: float
    """1 / sqrt(r): weight of the language's samples in the loss (Hong, Park and Ro 2023)."""
    chars_per_second: float
    seconds: tuple[float, float, float]
    """Percentiles 1, 50 and 99 of the lengths, s."""
    short: tuple[str, ...]
    """Ids of utterances shorter than MIN_FRAMES."""
    long: tuple[str, ...]
    """Ids of utterances longer than MAX_FRAMES."""


def language_balance(records: Iterable[Record]) -> list[LanguageBalance]:
    """Count the utterances of every language and compute its weight in training.

    Args:
        records: Utterances of any languages; each needs a finite ``end``.

    Returns:
        One row per language, sorted by code.

    Raises:
        CorpusError: There are no records, or a record has no end.
    """
    by_language: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.end == float("inf"):
            raise CorpusError(
                f"record {record.utterance_id} has no end: prepare the corpus, or add the times"
            )
        by_language[record.language].append(record)
    if not by_language:
        raise CorpusError("there are no records to count")
    total = sum(map(len, by_language.values()))
    return [_balance(code, by_language[code], total) for code in sorted(by_language)]


def _balance(language: str, records: Sequence[Record], total: int) -> LanguageBalance:
    lengths = [record.end - record.start for record in records]
    percentiles = (
        quantiles(lengths, n=100, method="inclusive") if len(lengths) > 1 else lengths * 99
    )
    share = len(records) / total
    return LanguageBalance(
        language=language,
        utterances=len(records),
        hours=sum(lengths) / 3600,
        share=share,
        gamma=share**-0.5,
        chars_per_second=sum(len(record.text) for record in records) / sum(lengths),
        seconds=(percentiles[0], percentiles[49], percentiles[98]),
        short=tuple(
            r.utterance_id for r, s in zip(records, lengths, strict=True) if s * FPS < MIN_FRAMES
        ),
        long=tuple(
            r.utterance_id for r, s in zip(records, lengths, strict=True) if s * FPS > MAX_FRAMES
        ),
    )


def balance_table(rows: Sequence[LanguageBalance]) -> str:
    """Format the balance as a table, with the ids of segments that are too short or too long.

    Args:
        rows: The languages, as ``language_balance`` returns them.

    Returns:
        Lines of text; at most 10 ids are listed of each kind.
    """
    lines = [
        f"{'language':8}{'utterances':>12}{'hours':>9}{'share r':>9}{'gamma':>8}{'chars/s':>9}"
        f"{'1 %':>8}{'median':>8}{'99 %':>8}{'short':>7}{'long':>6}"
    ]
    for row in rows:
        first, median, last = row.seconds
        lines.append(
            f"{row.language:8}{row.utterances:12}{row.hours:9.2f}{row.share:9.1%}{row.gamma:8.2f}"
            f"{row.chars_per_second:9.1f}{first:7.2f}s{median:7.2f}s{last:7.2f}s"
            f"{len(row.short):7}{len(row.long):6}"
        )
    lines.append(
        f"{'all':8}{sum(row.utterances for row in rows):12}{sum(row.hours for row in rows):9.2f}"
    )
    for name, limit in (("short", f"under {MIN_FRAMES}"), ("long", f"over {MAX_FRAMES}")):
        ids = [utterance_id for row in rows for utterance_id in getattr(row, name)]
        if ids:
            examples = ", ".join(ids[:10]) + (" ..." if len(ids) > 10 else "")
            lines.append(f"{len(ids)} {limit} frames: {examples}")
    return "\n".join(lines) + "\n"


def plot_balance(rows: Sequence[LanguageBalance], path: str | os.PathLike[str]) -> None:
    """Plot the hours and the weight of every language as bars.

    Args:
        rows: The languages, as ``language_balance`` returns them.
        path: PNG to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(4.8, 0.7 * len(rows) + 2), 3.6), layout="constrained")
    hours, weight = figure.subplots(2, 1, sharex=True)
    codes = [row.language for row in rows]
    for axes, values, label, colour in (
        (hours, [row.hours for row in rows], "hours", "#4878a8"),
        (weight, [row.gamma for row in rows], "weight gamma", "#c0762c"),
    ):
        axes.bar_label(axes.bar(codes, values, color=colour), fmt="%.3g", fontsize=8)
        axes.set_ylabel(label)
        axes.margins(y=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
