"""Structured logs: one JSON object a line, with the request's id where there is one."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from datetime import datetime, timezone
from logging.handlers import RotatingFileHandler
from pathlib import Path

log = logging.getLogger("serve")
MAX_FILE_BYTES = 64 * 2**20
KEPT_FILES = 4


class JsonLines(logging.Formatter):
    """{"time", "level", "event", ...fields, "error" with its traceback}."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        entry = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            entry["traceback"] = "".join(traceback.format_exception(record.exc_info[1]))
        return json.dumps(entry, default=repr)


def log_as_json(folder: str | None) -> None:
    """Sends the service's log to a file in `folder`, or to standard error without one."""
    handler: logging.Handler
    if folder is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        Path(folder).mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(
            Path(folder) / f"replica-{os.getpid()}.jsonl",
            maxBytes=MAX_FILE_BYTES,
            backupCount=KEPT_FILES,
        )
    handler.setFormatter(JsonLines())
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
