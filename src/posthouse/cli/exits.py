"""Every exit code of the command line, in one table."""

from enum import IntEnum


class Exit(IntEnum):
    """How a command ended. Codes are API: they never change meaning."""

    OK = 0  #: done
    FAILED = 1  #: a check found something wrong, or the node failed
    USAGE = 2  #: the command line or its input is not valid; nothing was sent
    NOT_FOUND = 3  #: there is no such thing
    UNAUTHORIZED = 4  #: the API key is missing, not valid or too narrow
    UNREACHABLE = 5  #: no answer from the node; whether the request was done is unknown
    REFUSED = 6  #: the node refused the request as it is; a repeat would be refused too
    BUSY = 7  #: the node cannot now; the same request may be repeated later
    INTERRUPTED = 130  #: ended by Ctrl-C


def exit_of(status: int) -> Exit:
    """The exit code for a refusal with this HTTP status."""
    match status:
        case 404:
            return Exit.NOT_FOUND
        case 401 | 403:
            return Exit.UNAUTHORIZED
        case 429 | 503:
            return Exit.BUSY
        case _ if 400 <= status < 500:  # noqa: PLR2004 - the class of client errors
            return Exit.REFUSED
        case _:
            return Exit.FAILED
