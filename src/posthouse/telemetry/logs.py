"""What a node logs: every event as declared data, and the only code that writes them. Their names are API."""

import logging
import re
import sys
from collections.abc import Mapping
from enum import Enum
from typing import Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger


class Log(Enum):
    """Every event that Posthouse logs: its level and what it means. Its name in the log is in lower case.

    Nothing is logged per event or per delivery: those have rows.
    """

    NODE_STARTED = "info", "The node answers requests on `url`."
    NODE_STOPPING = "info", "A signal came: no new requests, and at most `drain_seconds` for those on their way."
    NODE_STOPPED = "info", "Everything is settled and the store is closed."
    NODE_FAILED = "error", "The node cannot go on and ends; what it acknowledged is in the store."
    STORE_FAILED = "error", "A COMMIT or fsync failed, so its outcome is unknown; the process must start anew."
    STORE_AWAITED = "warning", "The database cannot be used, as `detail` says; tried again for `seconds` more."
    STORE_LOST = "warning", "A connection to the database ended; writes are refused until there is one again."
    STORE_BACK = "info", "All connections to the database are there again, after `seconds`."
    STORE_FINDING = "warning", "The store is set up so that `detail`; said once while it is so."
    STORE_READ_ANEW = "info", "What was remembered of the database was read anew after a connection to it had ended."
    SLOTS_ACQUIRED = "info", "This node owns `count` more slots of endpoints."
    SLOTS_LOST = "warning", "Another node took `count` slots: it heard nothing of this one for too long."
    SLOTS_GIVEN_UP = "info", "This node gave up `count` slots, for which nothing was on its way, for others to take."
    NODE_DEAD = "warning", "Nothing was heard of `node` for as long as a lease lasts; others take its slots."
    NODE_BURIED = "warning", "Others took this node for dead under the name `buried`; it goes on as `node`."
    LEASE_RENEWAL_FAILED = "warning", "The leases could not be prolonged; tried again before they run out."
    ENDPOINT_DISABLED = (
        "warning",
        "The endpoint's deliveries are held: it answered 410 Gone, failed for too long, or is unusable.",
    )
    ENDPOINT_UNUSABLE = "warning", "What is stored of the endpoint cannot be used, as `detail` says; it gets disabled."
    ENDPOINT_DOWN = (
        "warning",
        "The endpoint fails; its deliveries wait, and one probe at a time looks whether it is up.",
    )
    ENDPOINT_ANSWERS = "info", "An endpoint that was down answers again; what waited is sent, with a ramp."
    ENDPOINT_RECOVERED = "info", "Nothing waits any more of what an endpoint missed while it was down."
    ENDPOINT_FAILING = "warning", "The endpoint has failed for a long time; unless it answers, it is disabled then."
    HEALTH_UNWRITTEN = "warning", "What is known of endpoints that fail could not be stored; tried again."
    DELIVERY_FAULT = "error", "The node itself failed at a delivery: `count` times since this was last logged."
    QUEUE_UNREADABLE = "error", "Queues cannot be read, `count` more than was logged before; tried every second."
    QUEUE_STUCK = "warning", "The queue's first delivery is due, nothing holds it, and it has not moved for `seconds`."
    QUEUE_MOVES = "info", "A queue that was stuck for `seconds` moves again, or is held for a known reason now."
    CLOCK_STEPPED = "warning", "The wall clock was stepped by `by_ms` milliseconds against the monotonic one."
    DELIVERIES_RETIMED = "info", "A clock ahead of this one had set due times; `count` of them were set anew."
    SETTLE_FAILED = "error", "Outcomes could not be made durable; their deliveries will be attempted again."
    OUTBOX_FAILED = "warning", "An outbox cannot be drained, as `detail` says; its events wait, and it is tried again."
    OUTBOX_DRAINED = "info", "An outbox that could not be drained is drained again."
    OUTBOX_DOUBTED = "warning", "`count` rows of an outbox cannot be events; they stand among its doubts, with why."
    JOB_ENDED = "info", "A bulk job ended as `state` says; it changed `done` deliveries and skipped `skipped`."
    JOB_FAILED = "error", "A bulk job met a fault and stands where it was; others go on."
    LOOP_FAILED = "error", "A loop of the node met a fault of the program; it goes on where it can."
    REQUEST_TURNED_AWAY = (
        "warning",
        "Requests to a source were not kept, as `code` says; `count` more to any source since this was last logged.",
    )
    SOURCE_SILENT = "warning", "Nothing came from the source for twice as long as usual."
    SOURCE_SPEAKS = "info", "Something came from a source that was silent."
    KEY_UNAVAILABLE = "warning", "The key that requests are signed with could not be fetched; tried again."
    DEDUPE_LOST = "error", "Repetitions cannot be recognised; what comes is passed on and marked, and it is restored."
    DEDUPE_RESTORED = "info", "Repetitions are recognised again."
    INBOX_FAILED = "error", "Requests that are kept could not be passed on, `count` times since this was last logged."
    PRESET_FAILED = "error", "A preset met a fault of the program on a request, which is in quarantine now."
    QUARANTINE_RESOLVED = (
        "info",
        "`count` entries of a source left quarantine as `resolution` says; the API key `by` asked for it.",
    )
    REQUEST_FAILED = "error", "An API request met a fault of the program and was answered with 500."
    UNDELIVERED_AT_STOP = "warning", "`count` requests had no answer when the drain ended; they will be sent again."

    def __init__(self, level: str, meaning: str) -> None:
        self.level = level
        self.meaning = meaning


def log(event: Log, /, *, exc_info: BaseException | None = None, **fields: object) -> None:
    """Write one declared event with its fields. Once, at the place that handles it."""
    if exc_info is not None:
        fields["exc_info"] = exc_info
    _logger.log(_LEVELS[event.level], event.name.lower(), **fields)


_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_logger = structlog.stdlib.get_logger("posthouse")

REDACTED: Final = "[redacted]"
_SECRET_KEY: Final = re.compile(r"secret|authorization|token|password|api_?key$|cookie|signature$", re.IGNORECASE)
_SECRET_TEXT: Final = re.compile(r"\b(whsec_|whsk_|[Bb]earer |postgres(?:ql)?://[^\s:@/]*:)[^\s\"',}]+")


def redact(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Hide what must not be in a log: fields by name, and secrets that stand inside a text.

    Every line begins with when, how bad and what.
    """
    first = {key: event_dict[key] for key in ("timestamp", "level", "event") if key in event_dict}
    return {key: _redacted(key, value) for key, value in {**first, **event_dict}.items()}


def _redacted(key: str, value: object) -> object:
    if _SECRET_KEY.search(key):
        return REDACTED
    if isinstance(value, str):
        return _SECRET_TEXT.sub(rf"\1{REDACTED}", value)
    if isinstance(value, Mapping):
        return {inner: _redacted(str(inner), part) for inner, part in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(key, part) for part in value]
    return value


def configure_logging(
    level: str, log_format: Literal["auto", "json", "pretty"], *, stream: TextIO | None = None
) -> None:
    """Send all logs, those of libraries too, to ``stream`` (standard error) as JSON or pretty lines.

    ``auto`` is pretty on a terminal and JSON elsewhere. Calling it again replaces the earlier set-up.
    """
    target = stream or sys.stderr
    pretty = log_format == "pretty" or (log_format == "auto" and target.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # The traceback becomes text before redaction, so that a secret inside it is hidden as well.
    trace = structlog.processors.format_exc_info
    last: list[Processor] = [redact, structlog.dev.ConsoleRenderer() if pretty else structlog.processors.JSONRenderer()]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, trace, *last],
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(formatter)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "aiohttp"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(max(_LEVELS[level], logging.WARNING))
