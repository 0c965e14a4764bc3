"""Log lines with the store that they are about, as JSON or as text, on standard error."""

from __future__ import annotations

import logging
import traceback
from typing import Any, Final

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from locus_operator.settings import LogFormat, LogLevel

_OF_KOPF: Final = ("k8s_ref", "k8s_skip", "settings")
_CHATTY: Final = ("aiohttp.access", "asyncio", "kopf.objects")
"""Loggers that say at INFO what our own lines say better."""


def configure(log_format: LogFormat, level: LogLevel) -> None:
    """Send all log lines of the process to standard error."""
    handler = logging.StreamHandler()
    handler.addFilter(_name_the_store)
    if log_format is LogFormat.JSON:
        handler.setFormatter(_json())
    else:
        handler.addFilter(_add_subject)
        handler.setFormatter(_text())
    logging.basicConfig(handlers=[handler], level=level.value, force=True)
    if level is not LogLevel.DEBUG:
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)


def store_logger(logger: logging.Logger, store: str, uid: str) -> logging.LoggerAdapter[logging.Logger]:
    """Return the logger with a store's `namespace/name` and UID on each line."""
    return logging.LoggerAdapter(logger, {"store": store, "uid": uid})


def where_it_happened(error: BaseException) -> str:
    """Return type and stack of an unexpected error without its text, which may hold anything, a password included."""
    stack = "".join(traceback.format_tb(error.__traceback__))
    return f"{type(error).__name__}\n{stack}"


def _json() -> JsonFormatter:
    return JsonFormatter(
        "%(levelname)s %(name)s %(message)s",
        rename_fields={"levelname": "level", "name": "logger"},
        timestamp="time",
        reserved_attrs=[*RESERVED_ATTRS, *_OF_KOPF],
    )


def _name_the_store(record: logging.LogRecord) -> bool:
    """Give kopf's lines about an object the fields that ours have."""
    reference: dict[str, Any] | None = getattr(record, "k8s_ref", None)
    if reference is not None:
        record.store = f"{reference.get('namespace')}/{reference.get('name')}"
        record.uid = reference.get("uid")
    return True


def _text() -> logging.Formatter:
    return logging.Formatter("%(asctime)s %(levelname)-7s %(message)s%(about)s")


def _add_subject(record: logging.LogRecord) -> bool:
    store, pod = getattr(record, "store", None), getattr(record, "pod", None)
    subject = store or (f"pod {getattr(record, 'namespace', None)}/{pod}" if pod else None)
    record.about = f"  [{subject}]" if subject else ""
    return True
