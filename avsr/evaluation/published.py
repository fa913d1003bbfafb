"""Published results: WER in % from Table 1 of Hong, Park and Ro (2023), for sound and lips.

The noisy rows use babble from MuAViC's own file; numbers under another noise cannot be compared.
"""

from avsr.languages import MUAVIC_LANGUAGES

TABLE_1: dict[tuple[str, str], tuple[float | None, ...]] = {
    ("clean", "MuAViC, one model a language"): (
        *(99.24, 53.93, 25.85, 2.21, 16.66, 26.26, 20.07, 19.97, 32.77),
    ),
    ("clean", "MuAViC, one model"): (
        *(90.49, 56.01, 37.96, None, 18.99, 22.97, 21.82, 22.34, 45.50),
    ),
    ("clean", "the paper, attention"): (
        *(91.48, 52.60, 45.84, 3.39, 20.28, 23.76, 21.45, 23.58, 57.36),
    ),
    ("clean", "the paper, attention + CTC"): (
        *(90.94, 48.10, 42.41, 2.47, 18.04, 21.52, 19.67, 20.80, 54.12),
    ),
    ("noisy", "MuAViC, one model a language"): (
        *(100.19, 70.49, 50.81, 6.50, 40.72, 44.87, 47.90, 42.30, 49.48),
    ),
    ("noisy", "MuAViC, one model"): (
        *(98.65, 74.41, 62.98, None, 42.11, 41.86, 47.22, 44.86, 65.93),
    ),
    ("noisy", "the paper, attention"): (
        *(100.02, 70.56, 66.43, 10.68, 43.48, 41.87, 47.98, 46.73, 74.00),
    ),
    ("noisy", "the paper, attention + CTC"): (
        *(99.66, 65.92, 61.94, 9.01, 38.94, 37.37, 42.48, 42.13, 68.99),
    ),
}


def paper_rows(languages: list[str]) -> list[tuple[str, list[float | None]]]:
    """List (name, WER of each language and their mean); None where the paper has no number."""
    rows = []
    for (noise, system), rates in TABLE_1.items():
        by_language = dict(zip(MUAVIC_LANGUAGES, rates, strict=True))
        row = [by_language.get(code) for code in languages]
        numbers = [rate for rate in row if rate is not None]
        mean = sum(numbers) / len(numbers) if len(numbers) == len(row) and numbers else None
        rows.append((f"{system}, {noise}", [*row, mean]))
    return rows
