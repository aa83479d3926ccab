"""What a worker process says to the process that started it: one JSON object per line of its standard output."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, TextIO

from hpo import errors
from hpo.errors import HpoError
from hpo.search.search_listener import SearchListener

NOTICE, LOG, OPENED, FAILED = "notice", "log", "opened", "failed"
_ERRORS = {kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type)}


@dataclass(frozen=True)
class WorkerMessage:
    """One message. Its content is a text, or a table of JSON values."""

    kind: str
    content: Any


class MessageChannel(SearchListener):
    """Sends messages to the parent process; notices of the search are among them."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def send(self, kind: str, content: Any) -> None:
        """Send a message. A parent that has ended does not get it."""
        with suppress(BrokenPipeError):
            self._stream.write(json.dumps(asdict(WorkerMessage(kind, content))) + "\n")
            self._stream.flush()

    def notice(self, text: str) -> None:
        """Send a message for the user."""
        self.send(NOTICE, text)

    def send_logs(self) -> None:
        """Send the log messages of hpo too."""
        logger = logging.getLogger("hpo")
        logger.addHandler(_LogSender(self))
        logger.setLevel(logging.INFO)


class _LogSender(logging.Handler):
    def __init__(self, channel: MessageChannel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        self._channel.send(LOG, {"logger": record.name, "level": record.levelno, "text": self.format(record)})


def open_channel() -> MessageChannel:
    """Reserve standard output for messages: what anything else prints goes to standard error."""
    stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf8")
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return MessageChannel(stream)


def parse_message(line: str) -> WorkerMessage | None:
    """Read a message; None for a line that a killed worker has not completed."""
    try:
        return WorkerMessage(**json.loads(line))
    except (ValueError, TypeError):
        return None


def forward_message(message: WorkerMessage, listener: SearchListener) -> None:
    """Pass a notice or log message of a worker on, as if this process had produced it."""
    if message.kind == NOTICE:
        listener.notice(message.content)
    elif message.kind == LOG:
        logging.getLogger(message.content["logger"]).log(message.content["level"], "%s", message.content["text"])


def describe_error(error: HpoError) -> dict[str, Any]:
    """Return an error as JSON values."""
    return {"kind": type(error).__name__, "fields": vars(error), "text": str(error)}


def restore_error(described: Mapping[str, Any]) -> HpoError:
    """Return the error that `describe_error` has described."""
    kind = _ERRORS.get(described["kind"], HpoError)
    error: HpoError = kind(**described["fields"]) if described["fields"] else kind(described["text"])
    return error
