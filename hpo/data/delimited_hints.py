"""Say why a column of a .csv or .tsv file is missing: another separator, another encoding, or no header."""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path

from hpo.data.columns import Columns, list_columns
from hpo.data.text_encoding import describe_settings, find_encoding, suggest_encoding
from hpo.errors import quote_value, suggest_name

_SEPARATORS = (",", ";", "\t", "|")
_SAMPLE_LINES = 50
_SAMPLE_CHARACTERS = 200_000
_WORDS_OF_TEXT = 4  # a name of a column is shorter


def explain_missing_column(file: Path, columns: Columns, separator: str, header: list[str]) -> str:
    """Return what a user can set so that the columns exist, or an empty text if the file does not tell."""
    options = columns.options
    if any(name.lower().startswith("sep=") for name in header):
        return "line 1 is a note to Excel (sep=); remove that line"
    if not options.header:
        advice = f"without a header, columns are named by position: {list_columns(header)}"
        if "header" in options.trained:
            advice += f"; the files of training had none, set {options.format_setting('header', True)} if this one has"
        return advice
    settings = suggest_separator_setting(file, columns, separator)
    if settings:
        separator = _find_likely_separator(_read_sample(file, columns), columns, separator) or separator
    sample = _parse(_read_sample(file, columns), separator)
    is_header_missing = _is_header_missing(sample, columns)
    if not settings and not is_header_missing:
        return ""
    if options.encoding is None and (encoding := suggest_encoding(file)):
        settings.append(options.format_setting("encoding", encoding))
    advice = describe_settings(settings).removeprefix("; ")
    if is_header_missing:
        seen = ", ".join(quote_value(field) for field in sample[0][:4])
        advice += f"{' and ' if advice else ''}the header seems to be missing (line 1 is {seen}); "
        advice += f"set {options.format_setting('header', False)} and name columns by position, such as "
        return advice + _format_column(columns, _find_text_position(sample))
    # The separator is worth nothing to a user who is not told the names that it leads to.
    return f"{advice} (columns then: {list_columns(sample[0])})"


def suggest_separator_setting(file: Path, columns: Columns, separator: str) -> list[str]:
    """Return the setting of another separator, as a list of one, if that is the likely one."""
    likely = _find_likely_separator(_read_sample(file, columns), columns, separator)
    return [columns.options.format_setting("separator", likely)] if likely else []


def _read_sample(file: Path, columns: Columns) -> list[str]:
    """Return the first lines of a file; characters of another encoding are replaced."""
    encoding = find_encoding(file, columns.options)
    with file.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding, errors="replace", newline="") as handle:
        return handle.read(_SAMPLE_CHARACTERS).splitlines(keepends=True)[:_SAMPLE_LINES]


def _find_likely_separator(lines: list[str], columns: Columns, separator: str) -> str | None:
    """Return another separator that gives the wanted columns, or an equal number of fields in all lines."""
    current = _parse(lines, separator)
    if not current or not columns.find_missing(current[0]):
        return None
    candidates = {other: _parse(lines, other) for other in _SEPARATORS if other != separator}
    for other, records in candidates.items():
        if columns.options.header and records and not columns.find_missing(records[0]):
            return other
    if _is_rectangular(current):
        return None
    return next((other for other, records in candidates.items() if _is_rectangular(records)), None)


def _parse(lines: list[str], separator: str) -> list[list[str]]:
    records = csv.reader(lines, delimiter=separator)
    try:
        return [fields for fields in islice(records, _SAMPLE_LINES) if fields]
    except csv.Error:
        return []


def _is_rectangular(records: list[list[str]]) -> bool:
    """Whether all records have the same number of fields, unless their separator is punctuation, before a blank."""
    if len({len(fields) for fields in records}) != 1 or len(records[0]) < 2:
        return False
    return not all(any(field.startswith(" ") for field in fields) for fields in records)


def _is_header_missing(records: list[list[str]], columns: Columns) -> bool:
    """Whether the first row looks like data: its values recur below, are numbers, or are sentences."""
    if len(records) < 2 or any("did you mean" in suggest_name(name, records[0]) for name in columns.names):
        return False
    below = [set(values) for values in zip(*(fields for fields in records[1:]), strict=False)]
    return any(
        field and (field in values or field.isdecimal() or len(field.split()) >= _WORDS_OF_TEXT)
        for field, values in zip(records[0], below, strict=False)
    )


def _find_text_position(records: list[list[str]]) -> int:
    """Return the position, from 1, of the column with the longest fields."""
    lengths = [sum(map(len, values)) for values in zip(*records, strict=False)]
    return lengths.index(max(lengths)) + 1


def _format_column(columns: Columns, position: int) -> str:
    return f"--text {position}" if columns.options.are_arguments else f'data.text = "{position}"'
