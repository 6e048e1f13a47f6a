"""How a worker logs: one JSON object a line on stderr, or coloured text where stderr is a terminal.

Celery's own lines keep Celery's form. Local variables are never shown: they may hold a credential.
"""

import sys

import structlog
from structlog.types import Processor


def configure_logging() -> None:
    """Set up structlog for this process and those forked from it."""
    renderers: list[Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if sys.stderr.isatty()
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
