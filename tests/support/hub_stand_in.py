"""A small server on the loopback device that implements the part of the Hugging Face hub that an upload uses."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_aTokenThatIsWrittenNowhere"


class Hub(ThreadingHTTPServer):
    """Repositories by name, each with its files; `refuse` maps the beginning of a path to the status of its answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), RequestHandler)
        self.repositories: dict[str, dict[str, Any]] = {}
        self.objects: dict[str, bytes] = {}  # uploaded large files, by SHA-256
        self.refuse: dict[str, int] = {}
        self.calls: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: a client that was refused may close the connection before it has sent everything."""


class RequestHandler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Write nothing to standard error."""

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        body = self._body()
        path = self.path.partition("?")[0]
        self.server.calls.append(f"{self.command} {path}")
        for prefix, status in self.server.refuse.items():
            if path.startswith(prefix):
                return self._send({"error": f"refused {self.headers.get('Authorization')}"}, status)
        if self.command == "PUT":
            self.server.objects[path.rpartition("/")[2]] = body
            return self._send({})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._send({"error": "Invalid credentials in Authorization header"}, 401)
        return self._call(path, body)

    def _call(self, path: str, body: bytes) -> None:
        if path == "/api/whoami-v2":
            return self._send({"name": "me", "type": "user", "auth": {"type": "access_token"}})
        if path == "/api/validate-yaml":
            return self._send({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path.endswith("/info/lfs/objects/batch"):
            return self._send({"objects": [self._upload(item) for item in json.loads(body)["objects"]]})
        name = "/".join(path.removeprefix("/api/models/").split("/")[:2])
        if name not in self.server.repositories:
            return self._send({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        repository = self.server.repositories[name]
        if "/preupload/" in path:
            files = [item["path"] for item in json.loads(body)["files"]]
            return self._send({"files": [self._preupload(file) for file in files]})
        if "/commit/" in path:
            for line in body.splitlines():
                self._commit(repository, json.loads(line))
            commit = {"commitUrl": f"{self.server.url}/{name}/commit/0", "commitOid": "0" * 40, "success": True}
            return self._send({**commit, "pullRequestUrl": None})
        siblings = [{"rfilename": file} for file in [".gitattributes", *repository["files"]]]
        info = {"_id": "0", "id": name, "private": repository["private"], "siblings": siblings, "tags": []}
        return self._send({**info, "downloads": 0, "likes": 0, "disabled": False, "gated": False, "sha": "0" * 40})

    def _create(self, request: dict[str, Any]) -> None:
        name = f"{request['organization'] or 'me'}/{request['name']}"
        if name in self.server.repositories:
            return self._send({"error": "You already created this model repo"}, 409)
        private = request.get("private", request.get("visibility") == "private")
        self.server.repositories[name] = {"private": private, "request": request, "files": {}}
        return self._send({"url": f"{self.server.url}/{name}", "id": name, "name": name})

    def _upload(self, item: dict[str, Any]) -> dict[str, Any]:
        return {**item, "actions": {"upload": {"href": f"{self.server.url}/storage/{item['oid']}"}}}

    def _preupload(self, file: str) -> dict[str, Any]:
        mode = "lfs" if file.endswith(".safetensors") else "regular"
        return {"path": file, "uploadMode": mode, "shouldIgnore": False, "oid": None}

    def _commit(self, repository: dict[str, Any], line: dict[str, Any]) -> None:
        value = line["value"]
        if line["key"] == "file":
            repository["files"][value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            repository["files"][value["path"]] = self.server.objects[value["oid"]]

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """Serve the hub while the block runs."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
