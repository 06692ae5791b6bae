"""Serve a bundle: `python -m serving --bundle PATH`."""

import argparse
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rewardlab.home import DEFAULT_NAME

if TYPE_CHECKING:
    from rewardlab.engine import Engine

KEEP_ALIVE_SECONDS = 75
DRAIN_SECONDS = 25


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, finish the requests in work, and return the exit code."""
    options = _parser().parse_args(arguments)
    # uvicorn drains on either signal, then raises it again: here, where it means a clean end.
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: sys.exit(0))
    try:
        engine = _open(options.bundle, options.threads)
        listener = _listen(options.host, options.port)
    except (OSError, ValueError) as error:
        print(f"serving: {error}", file=sys.stderr)
        return 1
    _serve(engine, listener, name=options.name, version=options.version)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving", description="Serve the rewards of a bundle over HTTP.")
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle's folder")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8080, help="0 picks a free one (default: %(default)s)")
    parser.add_argument("--name", type=_segment, default=DEFAULT_NAME, help="the model's name (default: %(default)s)")
    parser.add_argument("--version", type=_segment, help="the model's version (default: the bundle's digest)")
    parser.add_argument("--threads", type=_positive, help="CPU threads of the engine (default: all)")
    return parser


def _open(bundle: Path, threads: int | None) -> "Engine":
    from rewardlab.bundle import Bundle
    from rewardlab.engine import Engine

    return Engine(Bundle.open(bundle), threads=threads)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise OSError(f"cannot listen on {host} port {port}: {error.strerror}; choose another --port") from error
    # asyncio leaves this out for sockets it did not make, and each reply then waits 40 ms for the client's ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _serve(engine: "Engine", listener: socket.socket, *, name: str, version: str | None) -> None:
    import uvicorn

    from serving.app import build_app

    version = version or engine.bundle.label.rpartition("/")[2]
    config = uvicorn.Config(
        build_app(engine, name=name, version=version),
        http="httptools",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    host, port = listener.getsockname()[:2]
    print(f"serving {name}/{version} at http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    uvicorn.Server(config).run(sockets=[listener])


def _port(text: str) -> int:
    if not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"a port is in 0..65535, got {text}")
    return int(text)


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"at least 1, got {text}")
    return int(text)


def _segment(text: str) -> str:
    if not text or "/" in text:
        raise argparse.ArgumentTypeError(f"one part of a path, without '/', got {text!r}")
    return text


if __name__ == "__main__":
    sys.exit(main())
