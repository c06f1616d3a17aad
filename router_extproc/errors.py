"""The one tree of errors; each knows its status and what a client may read.

    RouterError
    ├── ConfigurationError        router.yaml is wrong; carries every problem found
    ├── StartError                a process or port cannot be had; the message names the key to change
    ├── TrainingError             data is missing or unfit, or what was trained must not be shipped
    └── RequestError              what a client is told, in its own API's shape
        ├── BadRequestError           400  malformed JSON, no model
        ├── AuthenticationError       401  no key, or one that is unknown, expired or revoked
        ├── PermissionDeniedError     403  the caller may not use what it asks for
        ├── MissingCapabilityError    400  no model of the route can do what the request needs
        ├── ModelNotFoundError        404  names the nearest model
        ├── PathNotFoundError         404  names the path
        ├── PayloadTooLargeError      413
        ├── LimitReachedError         429  a budget or a limit; names it and says when it resets
        │   ├── RequestLimitError          too many requests in a time, or at once
        │   └── TokenLimitError            too many tokens in a time
        ├── BadAnswerError            502  the last provider's answer was empty or could not be read
        └── UnavailableError          503  nothing healthy is strong enough; says why for machines

Rules: no logic here, no import from any other room. ``message`` is shown to clients, so it never holds a
credential, a body or a provider's address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class RouterError(Exception):
    """The root: everything this package raises on purpose."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a configuration file.

    ``line`` and ``column`` count from 1; ``key`` is the dotted path (``models.gpt-4o.tier``); ``fix`` says what would
    be right. ``code`` is a stable name for machines, ``severity`` is ``error`` (refused) or ``warning`` (accepted).
    """

    file: str
    line: int
    column: int
    key: str
    message: str
    fix: str = ""
    code: str = "invalid"
    severity: str = "error"

    def __str__(self) -> str:
        """The one line that ``validate`` prints and logs carry."""
        fix = f" ({self.fix})" if self.fix else ""
        return f"{self.file}:{self.line}:{self.column}: {self.severity}: {self.key or 'file'}: {self.message}{fix}"


class ConfigurationError(RouterError):
    """``router.yaml`` cannot be used; ``problems`` holds all that is wrong, in file order."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class StartError(RouterError):
    """A process, a binary or a port that the service needs cannot be had."""


class TrainingError(RouterError):
    """Training or evaluation cannot go on, or its result must not be shipped; the message says what to do."""


class RequestError(RouterError):
    """A request that gets an answer from the router itself instead of a provider's.

    ``type``, ``code`` and ``param`` are the fields of OpenAI's error object. ``reason`` is the machine-readable word
    for ``x-router-reason``; ``retry_after`` is in seconds. ``quota_resets_in``, in seconds, is when a quota that a provider
    calls used up is there again, where that is in the way.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    default_code: ClassVar[str | None] = None

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        reason: str | None = None,
        retry_after: int | None = None,
        quota_resets_in: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.param = param
        self.reason = reason or self.code or "error"
        self.retry_after = retry_after
        self.quota_resets_in = quota_resets_in


class BadRequestError(RequestError):
    """The body cannot be read."""

    status = 400
    type = "invalid_request_error"
    default_code = "invalid_request"


class AuthenticationError(RequestError):
    """Who asks has not proved who that is."""

    status = 401
    type = "authentication_error"
    default_code = "invalid_api_key"


class PermissionDeniedError(RequestError):
    """The caller is known, and may not use what it asks for."""

    status = 403
    type = "permission_error"
    default_code = "permission_denied"


class MissingCapabilityError(RequestError):
    """No model that the route may use can do what the request needs."""

    status = 400
    type = "invalid_request_error"
    default_code = "missing_capability"


class ModelNotFoundError(RequestError):
    """The ``model`` names no model, route or alias."""

    status = 404
    type = "invalid_request_error"
    default_code = "model_not_found"


class PathNotFoundError(RequestError):
    """No provider serves this path."""

    status = 404
    type = "invalid_request_error"
    default_code = "path_not_found"


class PayloadTooLargeError(RequestError):
    """The body is over ``limits.max_body_bytes``."""

    status = 413
    type = "invalid_request_error"
    default_code = "request_too_large"


class LimitReachedError(RequestError):
    """A budget or limit has no room for the request; to come back before ``retry_after`` is of no use."""

    status = 429
    type = "insufficient_quota"
    default_code = "budget_exceeded"


class RequestLimitError(LimitReachedError):
    """A limit on requests, in a time or at once, has no room."""

    type = "requests"
    default_code = "rate_limit_exceeded"


class TokenLimitError(LimitReachedError):
    """A limit on tokens in a time has no room."""

    type = "tokens"
    default_code = "rate_limit_exceeded"


class BadAnswerError(RequestError):
    """The last provider tried sent something that is no answer."""

    status = 502
    type = "server_error"
    default_code = "bad_answer"


class UnavailableError(RequestError):
    """Nothing that may serve the request can serve it now."""

    status = 503
    type = "server_error"
    default_code = "no_deployment_available"
