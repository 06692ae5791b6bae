"""What uvicorn does otherwise for this server: it tells requests of a disconnect, and rejects held ones at shutdown."""

import socket
from typing import cast

import uvicorn
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.disconnect import enable, notify
from serving.scorer import Scorer

DRAIN_SECONDS = 25
"""How long requests in work may take after SIGTERM or SIGINT."""


class Connection(HttpToolsProtocol):
    """One client's connection; its methods are called by the event loop and the parser."""

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        enable(cast(Scope, self.scope))

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection, and tell the request that is being answered."""
        super().connection_lost(exc)
        if self.cycle:
            notify(cast(Scope, self.cycle.scope))


class Server(uvicorn.Server):
    """A uvicorn server that rejects held requests before it waits for those in work.

    Held requests would else be cut off, with no reply and too late to ask another replica.
    """

    def __init__(self, config: uvicorn.Config, scorer: Scorer) -> None:
        super().__init__(config)
        self._scorer = scorer

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Reject held requests, then end as uvicorn does: on the event loop, after SIGTERM or SIGINT."""
        self._scorer.close_admission()
        await super().shutdown(sockets)
