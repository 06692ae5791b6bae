"""How the server ends: held requests are rejected at once, admitted ones are finished."""

import socket

import uvicorn

from serving.work import Worker

DRAIN_SECONDS = 25
"""What is in work has this long."""


class Server(uvicorn.Server):
    """A uvicorn server that sends away who is held before it waits for what is in work.

    Those who are held would else find out when they are cut off, with no word and too late to ask another replica.
    """

    def __init__(self, config: uvicorn.Config, worker: Worker) -> None:
        super().__init__(config)
        self._worker = worker

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Reject held requests, then end as uvicorn does: on the event loop, after SIGTERM or SIGINT."""
        self._worker.close_admission()
        await super().shutdown(sockets)
