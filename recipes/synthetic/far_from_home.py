"""How a model does far from home: a table over evaluation runs of several kinds of clips.

    python recipes/synthetic/far_from_home.py NAME=RUN [NAME=RUN ...]

RUN is the folder of a run of ``avsr evaluate`` with all three modalities. Each condition with sound
and lips is a row: words wrong from sound, lips and both, and how much worse both are than the
better of the two alone in the same noise, with the 95 % interval of the paired bootstrap.
"""

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from avsr.evaluation import read_run
from avsr.evaluation.compare import paired_difference
from avsr.evaluation.run_folder import CONDITIONS, Run

HEADER = (
    "| kind | noise | video | clips | sound | lips | both | both - better (95 %) | "
    "language: sound, lips, both |",
    "|---" * 9 + "|",
)


def find_alone(run: Run, both: Mapping[str, Any]) -> dict[str, str]:
    """Return the condition of each sense alone that goes with one of both senses.

    Sound alone has the same noise, lips alone the same corruption; lips that are not as they
    were seen, as those of another clip, have no condition of their own: the clean one counts.
    """
    found: dict[str, str] = {}
    for name in run.conditions:
        condition = run.about[CONDITIONS][name]
        if condition["language_mode"] != both["language_mode"]:
            continue
        if condition["modality"] == "audio" and condition["noise"] == both["noise"]:
            found["audio"] = name
        if condition["modality"] == "video" and (
            condition["video_corruption"] == both["video_corruption"]
            or (condition["video_corruption"] is None and "video" not in found)
        ):
            found["video"] = name
    return found


def rows(title: str, run: Run) -> Iterator[str]:
    """Yield a table row for each condition of a run with sound and lips."""
    scores = {name: run.about[CONDITIONS][name] for name in run.conditions}
    for name, condition in scores.items():
        if condition["modality"] != "av":
            continue
        alone = find_alone(run, condition)
        better = {
            sense: paired_difference(sense, run.conditions[other], run.conditions[name])
            for sense, other in alone.items()
        }
        wers = {sense: difference.rates[0] for sense, difference in better.items()}
        best = min(wers, key=lambda sense: wers[sense])
        worst = better[best]
        interval = (
            ""
            if worst.bounds is None
            else " ({:+.1f} to {:+.1f})".format(*(100 * bound for bound in worst.bounds))
        )
        noise = condition["noise"]
        sound = "clean" if noise is None else f"{noise['kind']} {noise['snr_db']:g} dB"
        cells = [
            f"{100 * wers[sense]:.1f}" if sense in wers else "-" for sense in ("audio", "video")
        ]
        languages = ", ".join(
            language_share(run, other) for other in (alone.get("audio"), alone.get("video"), name)
        )
        yield (
            f"| {title} | {sound} | {condition['video_corruption'] or 'clean'} | "
            f"{len(run.conditions[name])} | {cells[0]} | {cells[1]} | {100 * worst.rates[1]:.1f} | "
            f"{100 * worst.difference:+.1f}{interval} | {languages} |"
        )


def language_share(run: Run, condition: str | None) -> str:
    """Return the share of clips whose language is right, the mean over the languages."""
    if condition is None:
        return "-"
    by_language: dict[str, list[bool]] = {}
    for utterance in run.conditions[condition]:
        right = utterance.detected == utterance.language
        by_language.setdefault(utterance.language, []).append(right)
    shares = [sum(flags) / len(flags) for flags in by_language.values()]
    return f"{100 * sum(shares) / len(shares):.0f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN")
    print("\n".join(HEADER))
    for text in parser.parse_args().runs:
        title, _, folder = text.partition("=")
        print("\n".join(rows(title, read_run(folder))))


if __name__ == "__main__":
    main()
