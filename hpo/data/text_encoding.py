"""Decode the text files of users: byte order marks, other encodings, and messages that name the likely one."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from hpo.data.columns import ReadOptions

# UTF-32 comes first: its little-endian mark starts with that of UTF-16.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_OTHER_KINDS = {
    b"PK\x03\x04": "a zip archive, perhaps an Excel workbook; save the table as CSV",
    b"\x1f\x8b": "compressed with gzip; unpack it",
}
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_WIDE_ENCODINGS = ("utf-16", "utf-32", "utf-7")  # in which the byte of a line feed can be part of another character
_SAMPLE_BYTES = 2**20
# Accented letters are few among the letters of a language in Latin script; of others most bytes are not ASCII.
_WESTERN_SHARE = 0.25


class UndecodableText(ValueError):
    """A text file has bytes that are no characters of its encoding; `settings` may help."""

    def __init__(self, problem: str, settings: list[str], advice: str = "") -> None:
        super().__init__(f"{problem}{describe_settings(settings) or advice}")
        self.problem = problem
        self.settings = settings


def describe_settings(settings: list[str]) -> str:
    """Return `; the file seems to need ...`, or nothing without settings."""
    return f"; the file seems to need {' and '.join(settings)}" if settings else ""


def find_encoding(file: Path, options: ReadOptions) -> str:
    """Return the encoding that the user has set, else that of the byte order mark, else UTF-8."""
    with file.open("rb") as handle:
        start = handle.read(4)
    if kind := next((kind for mark, kind in _OTHER_KINDS.items() if start.startswith(mark)), None):
        raise ValueError(f"is {kind}")
    marked = next((name for mark, name in _BYTE_ORDER_MARKS.items() if start.startswith(mark)), None)
    if options.encoding is None:
        return marked or "utf-8"
    encoding = _normalize(options.encoding)
    actual = marked if marked and not encoding.startswith(marked) else None
    if actual is None and not encoding.startswith("utf") and _is_unicode(file):
        actual = "utf-8"  # each letter with an accent would become two characters, without an error
    if actual:
        setting = options.format_setting("encoding", options.encoding)
        raise ValueError(f"the file is {actual.upper()}; leave out {setting}, or save the file in that encoding")
    return encoding


def read_lines(file: Path, options: ReadOptions) -> Iterator[str]:
    """Yield the lines of a file, with their ends. Raises UndecodableText with the number of a line."""
    for line in read_each_line(file, options):
        if isinstance(line, UndecodableText):
            raise line
        yield line


def read_each_line(file: Path, options: ReadOptions) -> Iterator[str | UndecodableText]:
    """Yield the lines of a file, with their ends, and an UndecodableText in the place of one that is not decodable.

    Raises it if the whole file is not: in UTF-16, say, where an odd byte shifts all that follow.
    """
    encoding = find_encoding(file, options)
    if encoding.startswith(_WIDE_ENCODINGS):
        with file.open(encoding=encoding, newline="\n") as handle:
            try:
                # utf-16-le and its kin, which a user can set, leave the byte order mark in the text.
                yield next(handle, "").removeprefix("\ufeff")
                yield from handle
            except UnicodeError:
                raise _undecodable(file, encoding, options, "the file") from None
        return
    remedy: tuple[list[str], str] | None = None  # found once, however many lines are not decodable
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                text: str | UndecodableText = line.decode(_skip_mark(encoding) if number == 1 else encoding)
            except UnicodeDecodeError:
                remedy = remedy or _find_remedy(file, options)
                text = UndecodableText(_describe_problem(f"line {number}", encoding), *remedy)
            # Without a byte order mark, ASCII in UTF-16 is valid UTF-8: each second character is NUL.
            if number == 1 and b"\0" in line:
                raise _undecodable(file, encoding, options, "line 1")
            yield text


def split_lines(lines: Iterable[str]) -> Iterator[str]:
    """Split lines at carriage returns too, with which old programs end a line."""
    for line in lines:
        if "\r" in line.removesuffix("\n").removesuffix("\r"):
            yield from _LINE.findall(line)
        else:
            yield line


def read_text(file: Path, options: ReadOptions) -> str:
    """Return the content of a file. Raises UndecodableText with the number of the line."""
    encoding = find_encoding(file, options)
    content = file.read_bytes()
    try:
        text = content.decode(_skip_mark(encoding)).removeprefix("\ufeff")
        if "\0" in text:  # as in read_lines
            raise _undecodable(file, encoding, options, "the file")
        return text
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _undecodable(file, encoding, options, f"line {line}") from None


def suggest_encoding(file: Path) -> str | None:
    """Return the likely encoding of a file that is not UTF-8, or None if it is, or if its bytes do not tell."""
    with file.open("rb") as handle:
        sample = handle.read(_SAMPLE_BYTES)
    if (zeros := sample.count(b"\0")) > len(sample) // 8:
        return "utf-16-be" if sample[::2].count(b"\0") > zeros // 2 else "utf-16-le"
    if _can_decode(sample[: sample.rfind(b"\n") + 1] or sample, "utf-8"):
        return None
    high = sum(byte >= 0x80 for byte in sample)
    letters = sum(bytes((byte,)).isalpha() for byte in sample)
    if high > _WESTERN_SHARE * (high + letters):
        return None
    return "cp1252" if _can_decode(sample, "cp1252") else "latin-1"


def _undecodable(file: Path, encoding: str, options: ReadOptions, unit: str) -> UndecodableText:
    return UndecodableText(_describe_problem(unit, encoding), *_find_remedy(file, options))


def _describe_problem(unit: str, encoding: str) -> str:
    return f"{unit} is not {encoding.upper() if encoding.startswith('utf') else encoding}"


def _find_remedy(file: Path, options: ReadOptions) -> tuple[list[str], str]:
    """Return the settings that may help, and advice if there are none. Reads a part of the file."""
    if options.encoding is not None:
        return [], "; check " + options.format_setting("encoding", options.encoding)
    suggestion = suggest_encoding(file)
    advice = f"; set its encoding, such as {options.format_setting('encoding', 'cp1251')} (Cyrillic), "
    advice += "gb18030 (Chinese) or shift_jis (Japanese)"
    return [options.format_setting("encoding", suggestion)] if suggestion else [], advice


def _can_decode(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def is_mostly_unicode(file: Path) -> bool:
    """Whether a file starts with a byte order mark, or most of its lines that are not ASCII are UTF-8.

    The whole file is read, because its first such line can be far below. A line in another encoding is hardly ever
    valid UTF-8, and a file of UTF-8 can have a damaged line. A NUL means UTF-16 without a mark. False for a file that
    cannot be opened: its reader says why.
    """
    valid, invalid = 0, 0
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines):
                if number == 0 and line.startswith((codecs.BOM_UTF8, *_BYTE_ORDER_MARKS)):
                    return True
                if b"\0" in line:
                    return False
                if not line.isascii():
                    is_valid = _can_decode(line, "utf-8")
                    valid, invalid = valid + is_valid, invalid + (not is_valid)
    except OSError:
        return False
    return valid > invalid


def _is_unicode(file: Path) -> bool:
    """Whether a file is UTF-8 with characters that are not ASCII. In other encodings they are no valid UTF-8."""
    with file.open("rb") as handle:
        sample = handle.read(_SAMPLE_BYTES)
    return not sample.isascii() and _can_decode(sample[: sample.rfind(b"\n") + 1] or sample, "utf-8")


def _normalize(encoding: str) -> str:
    name = codecs.lookup(encoding).name
    return "utf-8" if name == "utf-8-sig" else name


def _skip_mark(encoding: str) -> str:
    return "utf-8-sig" if encoding == "utf-8" else encoding
