"""A stand-in for the Hugging Face hub: the handful of addresses that its clients ask for, over files in memory."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "a" * 40
Repositories = dict[str, dict[str, bytes]]


@contextmanager
def serve(repositories: Repositories) -> Iterator[str]:
    """Yield the address of a hub that has these data sets, a mapping of file names to contents each."""
    handler = type("Handler", (_Handler,), {"repositories": repositories})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    repositories: Repositories = {}  # noqa: RUF012

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        for name, files in self.repositories.items():
            api, content = f"/api/datasets/{name}", f"/datasets/{name}/resolve/{COMMIT}/"
            if path.startswith(f"{api}/tree/{COMMIT}"):
                return self._json(
                    [{"type": "file", "path": file, "size": len(files[file]), "oid": file} for file in files]
                )
            if path == api or path.startswith(f"{api}/revision/"):
                known = {"tags": [], "downloads": 0, "likes": 0, "private": False}
                return self._json(
                    {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files], **known}
                )
            if path.startswith(content) and (file := path.removeprefix(content)) in files:
                digest = hashlib.sha1(files[file], usedforsecurity=False).hexdigest()
                return self._send(200, files[file], {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT})
        known = any(f"/{name}/" in path for name in self.repositories)
        return self._send(404, b"", {"X-Error-Code": "EntryNotFound" if known else "RepoNotFound"})

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, code: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
