"""Tables as spreadsheets write them: cells between commas, semicolons or tabs."""

import csv
import difflib
import io
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from avsr.runtime.safe_names import show_name

SUFFIXES = (".csv", ".tsv")  # of files that are tables
SEPARATORS = ",;\t|"
NAMED_SEPARATOR = re.compile(r'"?sep=(.)"?(?=\r?\n)')  # first line of some spreadsheets


class Row(NamedTuple):
    """One row of a table below its first row."""

    line: int
    """Number of its line, from 1 on."""
    cells: dict[str, str]
    """Column -> cell, without the blanks around it."""
    problem: str
    """What is wrong, as the end of a sentence about the row; empty if nothing is."""


def find_separator(text: str, columns: Collection[str]) -> str:
    """Find what separates the cells: the character that finds most ``columns`` in the first row."""
    if named := NAMED_SEPARATOR.match(text):
        return named[1]
    first = next((line for line in text.split("\n") if line.strip()), "")

    def found(separator: str) -> int:
        return len({_column(cell) for cell in first.split(separator)}.intersection(columns))

    return max(SEPARATORS, key=found)


def table_rows(
    text: str, separator: str, columns: Collection[str], required: Collection[str]
) -> Iterator[Row]:
    """Read the rows of a table. Rows without any content are left out.

    Args:
        text: The table; its first row names the columns.
        separator: Character between the cells.
        columns: Names of the columns that may occur.
        required: Names of those that must occur.

    Yields:
        The rows. If the first row is not usable, it is the only one, with the problem.
    """
    if named := NAMED_SEPARATOR.match(text):
        text = text[named.end() :]
    # Blanks after a separator are no part of the cell, nor do they hide a quote.
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True
    )
    names: list[str] = []
    try:
        for cells in reader:
            cells = [cell.strip(" \t") for cell in cells]
            if not any(cells):
                continue
            if names:
                yield _row(reader.line_num, names, cells)
                continue
            names = list(map(_column, cells))
            if problem := _first_row_problem(names, columns, required):
                yield Row(reader.line_num, {}, problem)
                return
    except csv.Error as error:
        yield Row(reader.line_num, {}, f"not CSV ({error})")


def _column(cell: str) -> str:
    return cell.strip(' \t\r"').lower()


def _first_row_problem(
    names: list[str], columns: Collection[str], required: Collection[str]
) -> str:
    problems = []
    missing = sorted(set(required).difference(names))
    if missing:
        problems.append(f"the first row misses the column{'s'[: len(missing) > 1]} ")
        problems[-1] += ", ".join(missing)
    for name in dict.fromkeys(names):
        if name and name not in columns:
            matches = difflib.get_close_matches(name, columns, n=1)
            hint = f" (did you mean {matches[0]}?)" if matches else ""
            problems.append(f"the first row has the unknown column '{show_name(name)}'{hint}")
        if name and names.count(name) > 1:
            problems.append(f"the first row has the column {name} twice")
    return ", ".join(problems)


def _row(line: int, names: list[str], cells: list[str]) -> Row:
    """Pair cells with their columns; cells without a column may only be empty."""
    if len(cells) <= len(names) and "" not in names:
        return Row(line, dict(zip(names, cells, strict=False)), "")
    named = {name: cell for name, cell in zip(names, cells, strict=False) if name}
    surplus = [cell for name, cell in zip(names, cells, strict=False) if not name]
    has_more = any([*surplus, *cells[len(names) :]])
    return Row(line, named, "has more cells than the first row" if has_more else "")
