"""A connection as uvicorn serves it, which also tells its request when it is lost."""

from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.leaving import leave, offer


class Connection(HttpToolsProtocol):
    """One client's connection; its methods are called by the event loop and the parser."""

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        offer(cast(dict[str, Any], self.scope))

    def connection_lost(self, exc: Exception | None) -> None:
        """End, and tell the request that is being answered."""
        super().connection_lost(exc)
        if self.cycle:
            leave(cast(dict[str, Any], self.cycle.scope))
