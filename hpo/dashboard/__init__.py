"""optuna-dashboard on the store, with what hpo has to say of its studies; or on a copy of it, for others to look at."""

from __future__ import annotations

import errno
import importlib.util
import io
import ipaddress
import os
import socket
import socketserver
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from hpo.errors import StoreError
from hpo.store.storage import check_same_spec, load_stored_study, open_storage
from hpo.study.spec import StudySpec

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True)
class Dashboard:
    """A dashboard that is being served until the process ends it."""

    url: str  # of the study, or of the list of studies
    port: int
    is_copy: bool

    def show(self) -> bool:
        """Open it in the user's browser; whether there is a screen for one."""
        if sys.platform not in {"darwin", "win32"} and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
            return False
        # Some browsers keep whoever opens them waiting until they are closed.
        threading.Thread(target=webbrowser.open, args=(self.url,), daemon=True).start()
        return True

    def wait(self) -> None:
        """Serve until KeyboardInterrupt."""
        threading.Event().wait()


@contextmanager
def serve_dashboard(
    url: str, spec: StudySpec | None, host: str, port: int, read_only: bool = False
) -> Iterator[Dashboard]:
    """A dashboard on the store at a URL, at `port` or, where that is taken, at a free one; ended at the exit.

    With `read_only` it is on a copy, in which nothing can be changed, and which is removed at the end. With a study its
    page comes first, and the verdict on it is written into the store (or the copy).

    Raises StoreError and StudyError: optuna-dashboard is not installed, a host that others can reach, a port that one
    may not have, no such store, no such study in it, or one that was made from another study file.
    """
    _check(host, read_only)
    from optuna.artifacts import FileSystemArtifactStore
    from optuna.storages import RDBStorage
    from optuna_dashboard import wsgi

    from hpo.dashboard.flat_storage import FlatStorage
    from hpo.dashboard.publisher import DashboardPublisher
    from hpo.dashboard.snapshot import copy_store, served_artifact_folder

    with ExitStack() as stack:
        if read_only:
            removed = tempfile.TemporaryDirectory(prefix="hpo-dashboard-", ignore_cleanup_errors=True)
            url = copy_store(url, spec, Path(stack.enter_context(removed)))
        storage = open_storage(url, create=False)
        path = _path(url, spec)
        folder = served_artifact_folder(url, spec)
        if folder:
            folder.mkdir(exist_ok=True)
        files = FileSystemArtifactStore(folder) if folder else None
        if isinstance(storage, RDBStorage):
            stack.callback(storage.engine.dispose)
            storage = FlatStorage(storage)
        app: Any = wsgi(storage, artifact_store=files)
        server = _bound(host, port, _looked_at(app) if read_only else _called_here(app))
        stack.callback(server.server_close)
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        serving.start()
        stack.callback(server.shutdown)
        writer = DashboardPublisher(storage, url, files, spec)
        writer.start()
        stack.callback(writer.stop)
        bound = int(server.server_address[1])
        yield Dashboard(f"http://{_named(host)}:{bound}{path}", bound, read_only)


def _check(host: str, read_only: bool) -> None:
    """Refuse what cannot or should not be served, before anything is opened."""
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise StoreError("the dashboard needs optuna-dashboard: pip install 'hpo[dashboard]'")
    if not read_only and not _is_loopback(host):
        raise StoreError(
            f"--host {host}: whoever reaches this machine there could change and delete studies; "
            "add --read-only to show a copy"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _path(url: str, spec: StudySpec | None) -> str:
    """Where the first page is. Raises StudyError where there is no such study, or it was made from another file."""
    if spec is None:
        return "/dashboard"
    study = load_stored_study(spec, url)
    if "identity" in study.user_attrs:
        check_same_spec(study, spec)
    return f"/dashboard/studies/{study._study_id}"


def _looked_at(app: App) -> App:
    """The same application, which only answers: one visitor's deletions would be gone from the others' sight too."""

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in {"GET", "HEAD"}:
            return app(environ, start)
        environ["wsgi.input"].read(min(int(environ.get("CONTENT_LENGTH") or 0), 1 << 20))  # or the answer is lost
        start("403 Forbidden", [("Content-Type", "application/json")])
        return [b'{"reason": "this dashboard is a copy to look at, in which nothing can be changed"}']

    return answer


def _called_here(app: App) -> App:
    """The same application, for requests to this machine alone: a page from elsewhere may point its own name here."""

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if _is_loopback(str(urlsplit(f"//{environ.get('HTTP_HOST', '')}").hostname)):
            return app(environ, start)
        start("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"this dashboard answers to 127.0.0.1 and localhost only"]

    return answer


class _Quiet(WSGIRequestHandler):
    """Answers requests without a word on the terminal."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def get_stderr(self) -> Any:
        return io.StringIO()


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """One thread per request, none of which keeps the process from ending."""

    daemon_threads = True
    request_queue_size = 32

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's own asks the name server first, which may be far away
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a visitor who went away in the middle of an answer


class _Server6(_Server):
    address_family = socket.AF_INET6


def _bound(host: str, port: int, app: Any) -> _Server:
    """A server at the port, or at a free one where it is taken. Raises StoreError where it cannot be at that host."""
    kind = _Server6 if ":" in host else _Server
    for wanted in (port, 0):
        try:
            server = kind((host, wanted), _Quiet)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and wanted:
                continue
            raise StoreError(f"--host {host} --port {port}: {error.strerror or error}") from None
        server.set_app(app)
        return server
    raise StoreError(f"--host {host}: no port is free")


def _named(host: str) -> str:
    """A host as a URL has it; a name for all addresses of this machine."""
    if host in {"", "0.0.0.0", "::"}:
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
