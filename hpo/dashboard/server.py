"""The HTTP server: optuna-dashboard's application on a store, with access checks, until it is closed."""

from __future__ import annotations

import errno
import importlib.util
import io
import ipaddress
import os
import socket
import socketserver
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from hpo.atomic import scratch_folder
from hpo.errors import StoreError
from hpo.store.optuna_internals import study_id
from hpo.store.storage import (
    check_same_spec,
    check_store_writable,
    load_stored_study,
    open_storage,
    store_exists,
)
from hpo.store.study_record import StudyRecord
from hpo.study.spec import StudySpec

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]  # WSGI
PAGE_SECONDS = 5.0  # for which a page waits for a store that is locked or away
MAX_DISCARDED_BYTES = 1 << 20  # of a refused request
_ALL_INTERFACES = {"", "0.0.0.0", "::"}
# Other sites may neither embed files as images or scripts nor show pages in a frame.
_ISOLATION_HEADERS = [("Cross-Origin-Resource-Policy", "same-origin"), ("X-Frame-Options", "SAMEORIGIN")]


@dataclass(frozen=True)
class Dashboard:
    """A dashboard that is being served by threads of this process."""

    url: str  # of the study, or of the list of studies
    port: int
    is_copy: bool

    def show(self) -> bool:
        """Open the dashboard in the user's browser. Return whether there is a display for one."""
        if sys.platform not in {"darwin", "win32"} and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
            return False
        # In a thread, because some browsers block the caller until they are closed.
        threading.Thread(target=webbrowser.open, args=(self.url,), daemon=True).start()
        return True

    def wait(self) -> None:
        """Block until KeyboardInterrupt."""
        threading.Event().wait()


@contextmanager
def serve_dashboard(
    url: str, spec: StudySpec | None, host: str, port: int, read_only: bool = False
) -> Iterator[Dashboard]:
    """Serve a dashboard on the store at `url` until the context ends; if `port` is taken, at a free port.

    With `read_only`, serve a temporary copy that visitors cannot change. With a study, `Dashboard.url` is its page, and
    its verdict is written into the store (or into the copy).

    Raises StoreError if optuna-dashboard is not installed, if other machines can reach the host although it is not
    `read_only`, if the port is not allowed, or if there is no store. Raises StudyError if the store has no such study,
    or one that was created from another study file.
    """
    _check_request(host, read_only)
    from optuna.artifacts import FileSystemArtifactStore
    from optuna.storages import RDBStorage
    from optuna_dashboard import wsgi

    from hpo.dashboard.flat_storage import FlatStorage
    from hpo.dashboard.publisher import DashboardPublisher
    from hpo.dashboard.snapshot import copy_store, served_artifact_folder

    with ExitStack() as stack:
        if read_only:
            url = copy_store(url, spec, stack.enter_context(scratch_folder()))
        elif store_exists(url):
            _check_writable(url)
        storage = open_storage(url, create=False, outage_limit=PAGE_SECONDS)
        path = _page_path(url, spec)
        artifact_folder = served_artifact_folder(url, spec)
        if artifact_folder:
            artifact_folder.mkdir(exist_ok=True)
        artifacts = FileSystemArtifactStore(artifact_folder) if artifact_folder else None
        if isinstance(storage, RDBStorage):
            stack.callback(storage.engine.dispose)
            storage = FlatStorage(storage, spec is None or spec.report.texts)
        application: Any = wsgi(storage, artifact_store=artifacts)
        application = _refuse_other_sites(_isolate(application), host)
        server = _bind(host, port, _refuse_writes(application) if read_only else application)
        stack.callback(server.server_close)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        stack.callback(server.shutdown)
        publisher = DashboardPublisher(storage, url, artifacts, spec)
        publisher.start()
        stack.callback(publisher.stop)
        bound_port = int(server.server_address[1])
        yield Dashboard(f"http://{_url_host(host)}:{bound_port}{path}", bound_port, read_only)


def _check_request(host: str, read_only: bool) -> None:
    """Raise StoreError for what cannot or should not be served, before anything is opened."""
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise StoreError("the dashboard needs optuna-dashboard: pip install 'hpo[dashboard]'")
    if not read_only and not _is_loopback(host):
        raise StoreError(
            f"--host {host}: everybody who can reach this address could change and delete studies; "
            "add --read-only to serve a copy"
        )


def _check_writable(url: str) -> None:
    """Raise StoreError if notes could not be written into the store."""
    try:
        check_store_writable(url)
    except StoreError as error:
        raise StoreError(f"{error}; --read-only serves a copy") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _page_path(url: str, spec: StudySpec | None) -> str:
    """Return the path of the first page. Raises StudyError if the study is missing or from another study file."""
    if spec is None:
        return "/dashboard"
    study = load_stored_study(spec, url)
    if StudyRecord.from_attributes(study.user_attrs).identity is not None:
        check_same_spec(study, spec)
    return f"/dashboard/studies/{study_id(study)}"


def _refuse_writes(application: Application) -> Application:
    """Wrap an application so that it only reads: what one visitor deletes would be gone for the others too."""

    def respond(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in {"GET", "HEAD"}:
            return application(environ, start_response)
        # Closing a connection with unread data resets it, and the client would lose the response.
        environ["wsgi.input"].read(min(int(environ.get("CONTENT_LENGTH") or 0), MAX_DISCARDED_BYTES))
        start_response("403 Forbidden", [("Content-Type", "application/json")])
        return [b'{"reason": "this dashboard is a read-only copy"}']

    return respond


def _refuse_other_sites(application: Application, served_host: str) -> Application:
    """Wrap an application so that pages of other web sites can neither read nor change anything.

    A page elsewhere could let its own host name point to this machine (DNS rebinding), which the header Host reveals.
    Browsers name the site of a page that sends a request in the header Origin.
    """

    def respond(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        address, origin = environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")
        host = str(urlsplit(f"//{address}").hostname)
        if not _is_served_name(host, served_host):
            return _refuse(start_response, f"not served under this name; start hpo dashboard with --host {host}")
        if origin is not None and urlsplit(origin).netloc != address:
            return _refuse(start_response, "requests from pages of other sites are refused")
        return application(environ, start_response)

    return respond


def _is_served_name(host: str, served_host: str) -> bool:
    """Whether a request may use this host: this machine's own names, those asked for, or any address in numbers.

    Nobody can make a numeric address point elsewhere.
    """
    names = {"localhost", served_host.lower()}
    if served_host in _ALL_INTERFACES:
        name = socket.gethostname().lower()
        names |= {name, name.partition(".")[0], f"{name.partition('.')[0]}.local"}
    if host.lower() in names:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or not _is_loopback(served_host)


def _refuse(start_response: Callable[..., Any], reason: str) -> Iterable[bytes]:
    start_response("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"this dashboard refuses the request: {reason}\n".encode()]


def _isolate(application: Application) -> Application:
    """Wrap an application so that browsers keep its responses from pages of other sites.

    optuna-dashboard lets every page read artifacts: it sends `Access-Control-Allow-Origin: *` with them.
    """

    def respond(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start_isolated(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            kept = [header for header in headers if not header[0].lower().startswith("access-control-")]
            return start_response(status, [*kept, *_ISOLATION_HEADERS], *error)

        return application(environ, start_isolated)

    return respond


class _QuietHandler(WSGIRequestHandler):
    """Handles requests without writing to the terminal."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def get_stderr(self) -> Any:
        return io.StringIO()


class _ThreadingServer(socketserver.ThreadingMixIn, WSGIServer):
    """One daemon thread per request, so that no request keeps the process alive."""

    daemon_threads = True
    request_queue_size = 32

    def server_bind(self) -> None:
        # HTTPServer.server_bind looks up the host's name, which takes seconds if the name server does not respond.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # the visitor closed the page before the response was complete


class _ThreadingServerIPv6(_ThreadingServer):
    address_family = socket.AF_INET6


def _bind(host: str, port: int, application: Any) -> _ThreadingServer:
    """Return a server at the port, or at a free one if it is taken. Raises StoreError if the host cannot be used."""
    server_class = _ThreadingServerIPv6 if ":" in host else _ThreadingServer
    for candidate in (port, 0):
        try:
            server = server_class((host, candidate), _QuietHandler)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and candidate:
                continue
            raise StoreError(f"--host {host} --port {port}: {error.strerror or error}") from None
        server.set_app(application)
        return server
    raise StoreError(f"--host {host}: no port is free")


def _url_host(host: str) -> str:
    """Return a host as part of a URL; for an address that stands for all interfaces, this machine's name."""
    if host in _ALL_INTERFACES:
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
