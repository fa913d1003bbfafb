"""Plots of a run's scores, as SVG text."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"av": "#4878a8", "audio": "#c0762c", "video": "#5a9a5a"}
NAMES = {"av": "sound and lips", "audio": "sound", "video": "lips"}
Conditions = Mapping[str, Mapping[str, Any]]
"""Conditions of ``results.json`` with their scores, by name."""


def svg(figure: "Figure") -> str:
    """Convert a figure to an ``<svg>`` element whose bytes are the same each time."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "avsr", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def plot_snr(conditions: Conditions, kind: str, language_mode: str) -> "Figure | None":
    """Plot the average WER over the signal-to-noise ratio, with intervals.

    Args:
        conditions: Scores of a run; those with corrupted video are left out.
        kind: Kind of noise.
        language_mode: Language mode of the conditions to plot.

    Returns:
        The figure; None if there are fewer than two ratios.
    """
    rows = [
        c
        for c in conditions.values()
        if c["language_mode"] == language_mode
        and c["video_corruption"] is None
        and (c["noise"] is None or c["noise"]["kind"] == kind)
    ]
    ratios = sorted({c["noise"]["snr_db"] for c in rows if c["noise"]})
    if len(ratios) < 2:
        return None
    figure, axes = _empty_figure(6.4, 4.0)
    clean = ratios[-1] + (ratios[-1] - ratios[0]) / max(1, len(ratios) - 1)
    for modality, colour in COLOURS.items():
        points = sorted(
            (
                clean if c["noise"] is None else c["noise"]["snr_db"],
                c["average"]["wer"],
                c["average"]["wer_interval"],
            )
            for c in rows
            if c["modality"] == modality and c["average"]["wer"] is not None
        )
        if points:
            _plot_modality(axes, points, colour, NAMES[modality], constant=modality == "video")
    axes.set_xticks([*ratios, clean], [f"{r:g}" for r in ratios] + ["clean"])
    axes.set_xlabel(f"speech over {kind}, dB")
    axes.set_ylabel("word error rate, %")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return figure


def _plot_modality(
    axes: "Axes", points: Sequence[tuple[Any, Any, Any]], colour: str, name: str, *, constant: bool
) -> None:
    """Plot (ratio, WER, interval) of one modality; ``constant``: the ratio does not matter."""
    ratios, rates, intervals = zip(*points, strict=True)
    if constant:
        axes.axhline(100 * rates[0], color=colour, label=name)
        if intervals[0]:
            low, high = intervals[0]
            axes.axhspan(100 * low, 100 * high, color=colour, alpha=0.15, lw=0)
        return
    axes.plot(ratios, [100 * rate for rate in rates], "o-", color=colour, label=name)
    if all(intervals):
        low, high = ([100 * interval[side] for interval in intervals] for side in (0, 1))
        axes.fill_between(ratios, low, high, color=colour, alpha=0.15, lw=0)


def plot_languages(conditions: Conditions, language_mode: str) -> "Figure | None":
    """Plot the WER of each language on clean clips as bars, with intervals.

    Args:
        conditions: Scores of a run.
        language_mode: Language mode of the conditions to plot.

    Returns:
        The figure; None if there is no clean condition, or no language with an error rate.
    """
    by_modality = {
        c["modality"]: c
        for c in conditions.values()
        if c["language_mode"] == language_mode
        and c["video_corruption"] is None
        and c["noise"] is None
    }
    if not by_modality:
        return None
    figure, axes = _empty_figure(6.4, 3.6)
    with_words = (
        {code for code, row in c["by_language"].items() if row["wer"] is not None}
        for c in by_modality.values()
    )
    codes = sorted(set.intersection(*with_words))
    if not codes:
        return None
    width = 0.8 / len(by_modality)
    for number, modality in enumerate(m for m in COLOURS if m in by_modality):
        rows = [by_modality[modality]["by_language"][code] for code in codes]
        positions = [i + (number - (len(by_modality) - 1) / 2) * width for i in range(len(codes))]
        heights = [100 * row["wer"] for row in rows]
        axes.bar(positions, heights, width, color=COLOURS[modality], label=NAMES[modality])
        for position, row in zip(positions, rows, strict=True):
            if row["wer_interval"]:
                interval = [100 * bound for bound in row["wer_interval"]]
                axes.plot([position] * 2, interval, color="#333", lw=1)
    axes.set_xticks(range(len(codes)), codes)
    axes.set_ylabel("word error rate, clean, %")
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return figure


def plot_confusion(confusion: Mapping[str, Mapping[str, int]], codes: Sequence[str]) -> "Figure":
    """Plot a confusion matrix of languages, in % of the row.

    Args:
        confusion: Spoken language (row) -> detected language (column) -> number of utterances.
        codes: Languages of the columns.
    """
    figure, axes = _empty_figure(0.5 * len(codes) + 2, 0.45 * len(confusion) + 1.4)
    spoken = list(confusion)
    shares = [
        [100 * row.get(code, 0) / sum(row.values()) for code in codes] for row in confusion.values()
    ]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for i, row in enumerate(shares):
        for j, share in enumerate(row):
            if share:
                colour = "white" if share > 55 else "#333"
                axes.text(j, i, f"{share:.0f}", ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(codes)), codes)
    axes.set_yticks(range(len(spoken)), spoken)
    axes.set_xlabel("detected")
    axes.set_ylabel("spoken")
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    return figure


def _empty_figure(width: float, height: float) -> "tuple[Figure, Axes]":
    """Make an empty figure that belongs to no window."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes
