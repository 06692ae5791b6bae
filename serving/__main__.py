"""Serve a bundle: `python -m serving --bundle PATH`."""

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rewardlab.home import DEFAULT_NAME
from serving.logs import set_up

if TYPE_CHECKING:
    from serving.served import Served
    from serving.tokens import Token

DIALECTS = ("openrlhf", "verl", "vllm", "sglang", "slime", "llamafactory", "nemo", "tei")
KEEP_ALIVE_SECONDS = 75
DRAIN_SECONDS = 25


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, finish the requests in work, and return the exit code."""
    options = _parser().parse_args(arguments)
    # uvicorn drains on either signal, then raises it again: here, where it means a clean end.
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: sys.exit(0))
    set_up(options.log_level)
    threads = options.threads or os.cpu_count() or 1
    try:
        served = _open(options.bundle, name=options.name, version=options.version)
        tokens = _tokens(options.tokens)
        listener = _listen(options.host, options.port)
    except (OSError, ValueError) as error:
        print(f"serving: {error}", file=sys.stderr)
        return 1
    _serve(served, listener, threads=threads, tokens=tokens)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving", description="Serve the rewards of a bundle over HTTP.")
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle's folder")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8080, help="0 picks a free one (default: %(default)s)")
    parser.add_argument("--name", type=_segment, default=DEFAULT_NAME, help="the model's name (default: %(default)s)")
    parser.add_argument("--version", type=_segment, help="the model's version (default: the bundle's digest)")
    parser.add_argument("--threads", type=_positive, help="passes at a time, one core each (default: all cores)")
    parser.add_argument(
        "--tokens", help="JSON file, or env:NAME, with the bearer tokens that may ask (default: all may)"
    )
    parser.add_argument(
        "--log-level", choices=("info", "warning", "error"), default="warning", help="info: each request"
    )
    return parser


def _open(bundle: Path, *, name: str, version: str | None) -> "Served":
    from serving.served import Served

    return Served.load(bundle, name=name, version=version)


def _tokens(source: str | None) -> "dict[str, Token] | None":
    from serving.tokens import read_tokens

    return read_tokens(source) if source else None


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise OSError(f"cannot listen on {host} port {port}: {error.strerror}; choose another --port") from error
    # asyncio leaves this out for sockets it did not make, and each reply then waits 40 ms for the client's ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _serve(served: "Served", listener: socket.socket, *, threads: int, tokens: "dict[str, Token] | None") -> None:
    import uvicorn

    from serving.app import app_of
    from serving.limits import Limits
    from serving.work import Worker

    worker = Worker(served, Limits(), threads=threads)
    config = uvicorn.Config(
        app_of(worker, tokens=tokens),
        http="httptools",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    server = uvicorn.Server(config)
    host, port = listener.getsockname()[:2]
    print(f"serving {served.label} at http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    server.run(sockets=[listener])


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
