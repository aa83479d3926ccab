"""Read texts, one per line, from a pipe or a terminal."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from select import select

from hpo.data.readers import check_each, check_stream
from hpo.data.text_encoding import split_lines
from hpo.errors import DataError

BLOCK_BYTES = 2**16  # the capacity of a pipe on Linux
POLL_SECONDS = 0.05  # long enough for a program that writes without pause to have written its next line


class LinePipe:
    """Iterate over the lines of a file descriptor; `is_ready` tells whether the next one is available already.

    Buffered file objects cannot be used here: `select` does not see the lines that wait in their buffer.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()

    def __iter__(self) -> Iterator[bytes]:
        rest = b""
        while block := os.read(self._descriptor, BLOCK_BYTES):
            *complete, rest = (rest + block).split(b"\n")
            self._lines.extend(complete)
            while self._lines:
                yield self._lines.popleft()
        if rest:
            yield rest

    def is_ready(self) -> bool:
        """Whether a line can be read without waiting: a program may wait for a prediction before it writes again."""
        try:
            return bool(self._lines or select([self._descriptor], [], [], POLL_SECONDS)[0])
        except (OSError, ValueError):  # on Windows, select supports sockets only
            return False


def read_lines(lines: Iterable[bytes], where: str) -> Iterator[str]:
    """Yield the texts of a LinePipe as they arrive. Raises DataError with the line's number for an unusable text."""
    return check_stream(_decode_each(lines, where), where, "line")


def read_each_line(lines: Iterable[bytes], where: str) -> Iterator[str | DataError]:
    """Yield the texts of a LinePipe as they arrive, with a DataError in the place of an unusable one."""
    return check_each(_decode_each(lines, where), where, "line")


def _decode_each(lines: Iterable[bytes], where: str) -> Iterator[str | DataError]:
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            yield from (part.rstrip("\r\n") for part in split_lines([text]))
        except UnicodeDecodeError:
            advice = "convert it, for example with iconv -f cp1252 -t utf-8"
            yield DataError(f"{where}: line {number} is not UTF-8; {advice}")
