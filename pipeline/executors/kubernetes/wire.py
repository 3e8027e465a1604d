"""Answers of the API server: refusals as errors, and bodies that are read while they are written."""

import json
import logging
from collections.abc import Iterator
from typing import Any

from pipeline.errors import InfrastructureError

_log = logging.getLogger(__name__)


class ApiError(InfrastructureError):
    """The API server refused; `status` is the HTTP status, 0 when it could not be reached."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        """Takes `reason` from the Status object: NotFound, Conflict, Forbidden, Expired, ..."""
        super().__init__(message)
        self.status = status
        self.reason = reason


class Stream:
    """Lines of an answer that the server goes on writing."""

    def __init__(self, response: Any) -> None:
        """Takes a response whose body was not read."""
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        """Whole lines; ends when the server ends it or the connection breaks.

        A line that a broken connection cut is left out.
        """
        rest = b""
        try:
            for piece in self._response.stream(1 << 16):
                *lines, rest = (rest + piece).split(b"\n")
                yield from lines
        except (urllib3_errors(), OSError, ValueError, AttributeError) as exc:
            # The last two: closed by another thread while this one reads.
            _log.debug("a stream broke: %s", exc)
            return
        finally:
            self._response.close()
        if rest:
            yield rest

    def close(self) -> None:
        """Ends the stream; from another thread, too."""
        try:
            self._response.shutdown()
        except (ValueError, OSError, RuntimeError, AttributeError):
            self._response.close()


def urllib3_errors() -> type[Exception]:
    """What the connection below may raise."""
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 - planning and --help stay free of it

    return HTTPError


def unreachable(host: str, cause: Exception) -> ApiError:
    """The error for no answer at all."""
    message = f"the API server {host} cannot be reached: {cause}"
    return ApiError(0, "Unreachable", message)


_FIXES = {
    401: "Log in again, or renew the kubeconfig.",
    403: "Have the rights of k8s/base given to this user or service account; "
    "`pipeline doctor --on kubernetes` lists them.",
}


def refusal(status: int, data: bytes, method: str, path: str) -> ApiError:
    """The error in a Status object, whatever the server really sent."""
    try:
        answer = json.loads(data)
        reason, message = str(answer.get("reason", "")), str(answer["message"])
        causes = (answer.get("details") or {}).get("causes") or ()
        if any("FieldManagerConflict" in str(one.get("reason")) for one in causes):
            reason = "FieldManagerConflict"
    except (ValueError, KeyError, AttributeError, TypeError):
        reason, message = "", data[:500].decode(errors="replace") or "no message"
    fix = _FIXES.get(status, "")
    text = f"{method} {path}: {status} {message.strip().rstrip('.')}. {fix}".rstrip()
    return ApiError(status, reason, text)
