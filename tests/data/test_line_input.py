"""Texts from a pipe: one per line, as soon as the line is written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO

import pytest

from hpo.data.line_input import LinePipe, read_lines
from hpo.errors import DataError


def read_error(content: bytes) -> str:
    """The message of the error that reading these lines raises."""
    with pytest.raises(DataError) as caught:
        list(read_lines(BytesIO(content), "standard input"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_lines_are_yielded_as_they_are_written() -> None:
    lines_read = 0

    def write_lines() -> Iterator[bytes]:
        nonlocal lines_read
        for line in (b"\xef\xbb\xbfone\r\n", b"two\n", b"three"):
            lines_read += 1
            yield line

    for number, text in enumerate(read_lines(write_lines(), "standard input"), start=1):
        assert text == ("one", "two", "three")[number - 1] and lines_read == number


def test_error_names_the_line() -> None:
    assert read_error(b"") == "standard input: no texts; expected at least one"
    assert read_error(b"a\n\n").startswith("standard input: line 2 is empty")
    assert "line 2 is not UTF-8" in read_error(b"a\n\xff\xfe\n")


def test_pipe_is_ready_if_a_line_can_be_read_without_waiting() -> None:
    reader, writer = os.pipe()
    pipe = LinePipe(reader)
    assert not pipe.is_ready()
    os.write(writer, "one\r\ntwo\n\u2028thr".encode())
    texts = read_lines(pipe, "standard input")
    assert (next(texts), pipe.is_ready(), next(texts), pipe.is_ready()) == ("one", True, "two", False)
    os.write(writer, b"ee")
    os.close(writer)
    assert pipe.is_ready() and list(texts) == ["\u2028three"]
    os.close(reader)
