r"""Output in encodings that lack characters: what is missing becomes \u4e2d, as in JSON, instead of a traceback."""

from __future__ import annotations

import codecs
import json
import sys
from io import TextIOWrapper

_ERRORS = "hpo-json-escapes"
_ASCII = "hpo-ascii"


def escape_unencodable_output() -> None:
    r"""Escape characters that the encoding of standard output or standard error lacks.

    The escapes are those of JSON, so that JSON stays valid: Python's `backslashreplace` would write \xe9 and
    \U0001f44d, which JSON does not have.
    """
    codecs.register_error(_ERRORS, _escape_as_json)
    codecs.register(_find_codec)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a stream may be closed, or replaced by another program
            # click takes ASCII for a mistake and writes UTF-8 instead. It recognizes the codec by its name.
            is_ascii = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=_ASCII if is_ascii else None, errors=_ERRORS)


def _escape_as_json(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def _find_codec(name: str) -> codecs.CodecInfo | None:
    if name != _ASCII.replace("-", "_"):  # names are normalized before codecs are searched for
        return None
    ascii_codec = codecs.lookup("ascii")
    return codecs.CodecInfo(
        ascii_codec.encode,
        ascii_codec.decode,
        incrementalencoder=ascii_codec.incrementalencoder,
        incrementaldecoder=ascii_codec.incrementaldecoder,
        name=_ASCII,
    )
