"""Logs of a process: events with fields, one JSON object a line on stderr. The audit record is not a log, and not here."""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logs(*, verbose: bool = False) -> None:
    """Sets up structlog for a service; other libraries' warnings pass through as they are."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format='{"level":"warning","event":"%(name)s","message":"%(message)s"}')
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
