"""Read .csv and .tsv files as they are: cells are text, and malformed rows are errors with their line number.

pandas would read more than the file says: `01` and `1` as one number, a quotation mark that is never closed as a field
over many rows, and text after a closing mark as part of the field.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from hpo.data.columns import Columns, ReadOptions, Row
from hpo.data.delimited_hints import explain_missing_column, suggest_separator_setting
from hpo.data.text_encoding import UndecodableText, describe_settings, read_lines, split_lines
from hpo.errors import DataError

# More digits than a label has, and fewer than Python refuses to convert. 007 and -0 are no whole numbers, but words.
_WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")

Record = tuple[int, list[str]]  # the number of its first line, and its fields


class MalformedQuoting(ValueError):
    """A quotation mark is not closed, or text follows the closing one."""


def read_delimited(file: Path, columns: Columns) -> Iterator[Row]:
    """Read a .csv or .tsv file, row by row; whole, if labels are wanted, which are whole numbers only if all are."""
    rows = _read_rows(file, columns)
    return rows if columns.label is None else _convert_whole_numbers(rows)


def is_whole_number(text: str) -> bool:
    """Whether a text is a whole number as Python writes it, so that the number has the same word as the text."""
    return bool(_WHOLE_NUMBER.fullmatch(text))


def _convert_whole_numbers(rows: Iterable[Row]) -> Iterator[Row]:
    """Convert labels to integers, which are ordered by size, if each has one spelling only."""
    complete = [(text, label.strip() if label is not None else None, *others) for text, label, *others in rows]
    if all(label is None or is_whole_number(label) for _, label, *_ in complete):
        return iter([(text, None if label is None else int(label), *others) for text, label, *others in complete])
    return iter(complete)


def _read_rows(file: Path, columns: Columns) -> Iterator[Row]:
    options = columns.options
    separator = find_separator(file, options)
    try:
        is_quoted = _decide_quoting(file, separator, options)
        records = parse_records(read_lines(file, options), separator, is_quoted, options)
        line, fields = next((record for record in records if record[1] or not options.header), (1, []))
        if not any(fields) and options.header:
            raise DataError(f"{file}: no texts; expected rows with {' and '.join(map(repr, columns.names))}")
        header = _name_columns(fields, options)
        if columns.find_missing(header):
            columns.check_present(header, file, explain_missing_column(file, columns, separator, header))
        _refuse_repeated_columns(header, columns)
        positions = [header.index(name) for name in columns.names]
        if not options.header:
            yield _select_values(fields, positions)
        for line, fields in records:
            if _is_blank_line(fields, len(header)):
                continue
            # Fewer fields are a row whose last cells are empty, which some programs leave out; with a mark, they are
            # rather the first part of a text with a line break.
            is_cut = not is_quoted and len(fields) < len(header) and any('"' in field for field in fields)
            if len(fields) > len(header) or is_cut:
                raise ValueError(_describe_wrong_length(line, fields, len(header), separator, is_quoted, options))
            yield _select_values(fields, positions)
    except (UndecodableText, MalformedQuoting) as error:
        # Fields in quotation marks with another separator look malformed too.
        if not (settings := suggest_separator_setting(file, columns, separator)):
            raise
        problem, other_settings = (error.problem, error.settings) if isinstance(error, UndecodableText) else (error, [])
        raise ValueError(f"{problem}{describe_settings([*settings, *other_settings])}") from None


def find_separator(file: Path, options: ReadOptions) -> str:
    """Return the character that separates fields: the user's, else that of the suffix."""
    return options.separator or ("\t" if file.suffix.lower() == ".tsv" else ",")


def parse_records(lines: Iterable[str], separator: str, is_quoted: bool, options: ReadOptions) -> Iterator[Record]:
    """Yield the records of a file. Raises MalformedQuoting with the line on which a record starts.

    With an unclosed mark, the line on which the parser notices can be far below the mistake.
    """
    csv.field_size_limit(2**31 - 1)  # a text can have more than 128 KiB
    reader = csv.reader(
        split_lines(lines),
        delimiter=separator,
        quoting=csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE,
        strict=True,
    )
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise MalformedQuoting(_describe_malformed_quoting(error, line, reader.line_num, options)) from None
        yield line, fields


def _name_columns(fields: list[str], options: ReadOptions) -> list[str]:
    """Return the names of the columns: of a nameless one as pandas writes it, without a header the positions."""
    if not options.header:
        return [str(position) for position in range(1, len(fields) + 1)]
    return [name or f"Unnamed: {position}" for position, name in enumerate(fields)]


def _refuse_repeated_columns(header: list[str], columns: Columns) -> None:
    for name in columns.names:
        if header.count(name) > 1:
            raise ValueError(f"line 1 names column {name!r} {header.count(name)} times; rename all but one")


def _select_values(fields: list[str], positions: list[int]) -> Row:
    """Return the values of the wanted columns; only an empty or missing field is null."""
    return tuple((fields[position] or None) if position < len(fields) else None for position in positions)


def _is_blank_line(fields: list[str], width: int) -> bool:
    """Whether a line has no row.

    In a file with a single column, an empty line is an empty text. If it were skipped, all later predictions would
    belong to the wrong line.
    """
    return width > 1 and (not fields or len(fields) == 1 and fields[0].isspace())


# --- quoting ----------------------------------------------------------------------------------------------------------


def _decide_quoting(file: Path, separator: str, options: ReadOptions) -> bool:
    """Whether quotation marks enclose fields: as the user says, else not in files that tabs separate.

    Raises ValueError for a file of the second kind that looks as if it was written with quotes, as pandas does.
    """
    if options.quoting is not None:
        return options.quoting == "csv"
    if separator != "\t":
        return True
    if any('"' in line for line in read_lines(file, options)) and (reason := _find_sign_of_quotes(file, options)):
        choices = [options.format_setting("quoting", choice) for choice in ("csv", "none")]
        raise ValueError(
            f"{reason}; set {choices[0]} if quotation marks enclose fields, or {choices[1]} if they belong to the texts"
        )
    return False


def _find_sign_of_quotes(file: Path, options: ReadOptions) -> str | None:
    """Return why a file that tabs separate may have been written with quotes, or None if it was not."""
    try:
        is_rectangular = len({len(fields) for _, fields in _parse_tabs(file, options, True) if fields}) <= 1
    except ValueError:  # malformed as a quoted file
        return None
    width, quoted_lines, are_all_quoted = 0, [], True
    for line, fields in _parse_tabs(file, options, False):
        width = width or len(fields)
        if is_rectangular and fields and len(fields) != width:
            return f"line {line} has {len(fields)} fields and line 1 {width}, unless quotation marks enclose fields"
        marked = [field for field in fields if '"' in field]
        quoted_lines += [line] if marked else []
        are_all_quoted &= all(_is_quoted_field(field) for field in marked)
    if not are_all_quoted:
        return None
    return f"line {quoted_lines[0]} has a field in quotation marks, and all fields with marks can be read in two ways"


def _parse_tabs(file: Path, options: ReadOptions, is_quoted: bool) -> Iterator[Record]:
    return parse_records(read_lines(file, options), "\t", is_quoted, options)


def _is_quoted_field(field: str) -> bool:
    """Whether a field can be one that a program has enclosed in quotation marks, with those inside doubled."""
    return bool(re.fullmatch(r'"(?:[^"]|"")*"', field, re.DOTALL))


# --- messages ---------------------------------------------------------------------------------------------------------


def _describe_malformed_quoting(error: csv.Error, line: int, last_line: int, options: ReadOptions) -> str:
    setting = options.format_setting("quoting", "none")
    if "end of data" in str(error):
        return f"line {line}: a quotation mark opens a field and is never closed; close it, or set {setting}"
    if "expected after" not in str(error):
        return f"line {line}: {error}"
    where = f"line {line}" if line == last_line else f"lines {line} to {last_line}"
    return f'{where}: text follows a closing quotation mark; double the marks inside a field (""), or set {setting}'


def _describe_wrong_length(
    line: int, fields: list[str], width: int, separator: str, is_quoted: bool, options: ReadOptions
) -> str:
    mark = "a tab" if separator == "\t" else repr(separator)
    remedy = f"a text that holds {mark} must be in quotation marks"
    if not is_quoted:
        remedy += f", with {options.format_setting('quoting', 'csv')}"
    return f"line {line} has {len(fields)} fields, the first line {width}; {remedy}"
