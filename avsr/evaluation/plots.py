"""Pictures of a run's scores, as SVG text."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"av": "#4878a8", "audio": "#c0762c", "video": "#5a9a5a"}
NAMES = {"av": "sound and lips", "audio": "sound", "video": "lips"}
Cells = Mapping[str, Mapping[str, Any]]


def svg(figure: "Figure") -> str:
    """A figure as an ``<svg>`` element that is the same each time."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "avsr", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def plot_snr(cells: Cells, kind: str, mode: str) -> "Figure | None":
    """Average WER over the signal-to-noise ratio, with intervals; None without two ratios."""
    chosen = [c for c in cells.values() if c["mode"] == mode and c["picture"] is None]
    figure, axes = _figure(6.4, 4.0)
    ratios = sorted(
        {c["noise"]["snr_db"] for c in chosen if c["noise"] and c["noise"]["kind"] == kind}
    )
    if len(ratios) < 2:
        return None
    clean = ratios[-1] + (ratios[-1] - ratios[0]) / max(1, len(ratios) - 1)
    for modality, colour in COLOURS.items():
        points = []
        for cell in chosen:
            if cell["modality"] != modality or (cell["noise"] and cell["noise"]["kind"] != kind):
                continue
            place = clean if cell["noise"] is None else cell["noise"]["snr_db"]
            points.append((place, cell["average"]["wer"], cell["average"]["wer_interval"]))
        points = sorted(p for p in points if p[1] is not None)
        if not points:
            continue
        if modality == "video":
            rate, bounds = points[0][1], points[0][2]
            axes.axhline(100 * rate, color=colour, label=NAMES[modality])
            if bounds:
                axes.axhspan(100 * bounds[0], 100 * bounds[1], color=colour, alpha=0.15, lw=0)
            continue
        axes.plot(
            [p[0] for p in points],
            [100 * p[1] for p in points],
            "o-",
            color=colour,
            label=NAMES[modality],
        )
        if all(p[2] for p in points):
            low, high = ([100 * p[2][side] for p in points] for side in (0, 1))
            axes.fill_between([p[0] for p in points], low, high, color=colour, alpha=0.15, lw=0)
    axes.set_xticks([*ratios, clean], [f"{r:g}" for r in ratios] + ["clean"])
    axes.set_xlabel(f"speech over {kind}, dB")
    axes.set_ylabel("word error rate, %")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return figure


def plot_languages(cells: Cells, mode: str) -> "Figure | None":
    """Bars of WER by language on clean clips, with intervals; None without such a cell."""
    chosen = {
        c["modality"]: c
        for c in cells.values()
        if c["mode"] == mode and c["picture"] is None and c["noise"] is None
    }
    if not chosen:
        return None
    figure, axes = _figure(6.4, 3.6)
    codes = sorted({code for c in chosen.values() for code in c["by_language"]})
    width = 0.8 / len(chosen)
    for number, modality in enumerate(m for m in COLOURS if m in chosen):
        rows = [chosen[modality]["by_language"][code] for code in codes]
        places = [i + (number - (len(chosen) - 1) / 2) * width for i in range(len(codes))]
        heights = [100 * (row["wer"] or 0) for row in rows]
        axes.bar(places, heights, width, color=COLOURS[modality], label=NAMES[modality])
        for place, row in zip(places, rows, strict=True):
            if row["wer_interval"]:
                axes.plot([place] * 2, [100 * b for b in row["wer_interval"]], color="#333", lw=1)
    axes.set_xticks(range(len(codes)), codes)
    axes.set_ylabel("word error rate, clean, %")
    axes.legend(frameon=False)
    return figure


def plot_confusion(confusion: Mapping[str, Mapping[str, int]], codes: Sequence[str]) -> "Figure":
    """What language (column) was recognised where one (row) is spoken, in % of the row."""
    figure, axes = _figure(0.5 * len(codes) + 2, 0.45 * len(confusion) + 1.4)
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
    axes.set_xlabel("recognised")
    axes.set_ylabel("spoken")
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    return figure


def _figure(width: float, height: float) -> "tuple[Figure, Axes]":
    """An empty figure that belongs to no window."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes
