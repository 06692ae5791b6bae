"""Logs: one JSON object a line on standard error, without texts, tokens or secrets."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime

log = logging.getLogger("serving")
"""Requests are told of at level INFO, what went wrong here at WARNING and above."""


class Lines(logging.Formatter):
    """Writes a record as one line; `extra={"facts": {...}}` are keys of their own."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            # where it happened, but not what: an exception's text may quote a request
            line["trace"] = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(record.exc_info[2])]
        return json.dumps(line, ensure_ascii=False)


def set_up(level: str) -> None:
    """Send the server's log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    log.handlers = [handler]
    log.setLevel(level.upper())
    log.propagate = False
