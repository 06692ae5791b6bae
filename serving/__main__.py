"""Serve a bundle: `python -m serving --bundle PATH`."""

import argparse
import ctypes
import gc
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rewardlab.cores import num_cores
from rewardlab.home import DEFAULT_NAME
from serving import protocols
from serving.logs import set_up

if TYPE_CHECKING:
    from serving.loaded_model import LoadOptions
    from serving.scorer import Scorer

KEEP_ALIVE_SECONDS = 75
GARBAGE_THRESHOLDS = (50_000, 10, 10)
"""Python looks for cycles after every 700 objects by default, which took a fifth of what a request costs here."""
MAPPED_BYTES = 2**20
"""What is at least as large goes back to the system when it is freed. glibc raises this to 32 MB by itself, and the
engine's buffers of many shapes then leave holes: 150 MB after 200 batches."""
_M_MMAP_THRESHOLD = -3  # malloc.h


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, finish the requests in work, and return the exit code."""
    options = _parser().parse_args(arguments)
    # uvicorn drains on either signal, then raises it again: here, where it means a clean end.
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: sys.exit(0))
    set_up(options.log_level)
    _tune()
    try:
        scorer = _scorer(options)
        listener = _listen(options.host, options.port)
        _serve(scorer, listener, options)
    except (OSError, ValueError) as error:
        print(f"serving: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving", description="Serve the rewards of a bundle over HTTP.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--bundle", type=Path, help="the bundle's folder")
    what.add_argument(
        "--model", help="models:/NAME/VERSION, or models:/NAME@ALIAS, which is followed, at MLFLOW_TRACKING_URI"
    )
    add = parser.add_argument
    add("--follow-seconds", type=float, default=10.0, help="how often the alias is looked at (default: %(default)s)")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=_port, default=8080, help="0 picks a free one (default: %(default)s)")
    add("--name", type=_segment, default=DEFAULT_NAME, help="a bundle's name (default: %(default)s)")
    add("--version", type=_segment, help="a bundle's version (default: its digest)")
    add("--threads", type=_positive, help="passes at a time, one core each (default: all that this process may use)")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="where models are computed (default: %(default)s)")
    names = protocols.names()
    add("--protocol", choices=names, help="serve this protocol at the root too, without its prefix (default: none)")
    add("--dialect", dest="protocol", choices=names, help=argparse.SUPPRESS)  # its old name, for one version more
    add("--tokens", help="JSON file, or env:NAME, with the bearer tokens that may ask (default: all may)")
    add("--verify-key", type=Path, help="public key (PEM): refuse what its owner did not sign (default: none)")
    add("--log-level", choices=("info", "warning", "error"), default="warning", help="info: tell of each request")
    return parser


def _scorer(options: argparse.Namespace) -> "Scorer":
    """Return what scores; nothing else holds its first model, which goes when another takes its place."""
    from rewardlab.mlflow_rest import RestRegistry
    from serving.follow import load
    from serving.limits import Limits
    from serving.loaded_model import LoadedModel
    from serving.scorer import Scorer

    how = _load_options(options)
    if options.bundle:
        model = LoadedModel.load(options.bundle, name=options.name, version=options.version, options=how)
    else:
        registry = RestRegistry.of_environment()
        model = load(registry, registry.find(options.model), options=how)
    return Scorer(model, Limits(), threads=options.threads or num_cores())


def _load_options(options: argparse.Namespace) -> "LoadOptions":
    from serving.loaded_model import LoadOptions

    return LoadOptions(verify_key=options.verify_key, device=options.device)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise OSError(f"cannot listen on {host} port {port}: {error.strerror}; choose another --port") from error
    # asyncio leaves this out for sockets it did not make, and each reply then waits 40 ms for the client's ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _serve(scorer: "Scorer", listener: socket.socket, options: argparse.Namespace) -> None:
    import uvicorn

    from rewardlab.mlflow_rest import RestRegistry
    from serving.app import app_of
    from serving.auth import read_tokens
    from serving.follow import Follower
    from serving.uvicorn_hooks import DRAIN_SECONDS, Connection, Server

    tokens = read_tokens(options.tokens) if options.tokens else None
    follower = None
    if options.model and "@" in options.model:
        registry, seconds = RestRegistry.of_environment(), options.follow_seconds
        follower = Follower(registry, options.model, scorer, seconds=seconds, options=_load_options(options))
    config = uvicorn.Config(
        app_of(scorer, tokens=tokens, protocol=options.protocol, follower=follower),
        http=Connection,
        loop="uvloop",
        log_level="warning",
        access_log=False,
        proxy_headers=False,  # who asks is told by tokens, not by addresses
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    host, port = listener.getsockname()[:2]
    print(f"serving {scorer.model.label} at http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    gc.freeze()  # what is there stays: looking through it again would halt all threads at each swap
    Server(config, scorer).run(sockets=[listener])


def _tune() -> None:
    """Set what is the process's own: garbage, freed memory, and threads that would take cores from the engine."""
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


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
