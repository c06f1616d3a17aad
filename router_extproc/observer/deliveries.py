"""Takes alerts to the webhook, in a body that Slack understands, again and again until it answers.

Rules of this file
- The webhook's address may be a secret: it is read where it lies at each call, and stands in no log and no error.
- At least once: whoever dies between the call and its note calls again.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from router_extproc.observer import spending_metrics
from router_extproc.observer.alerts import text_of
from router_extproc.observer.spending_metrics import SpendingMetrics
from router_extproc.registry.spending import Alerts
from router_extproc.store.alerts import AlertOutbox, StoredAlert

# Seconds: 1, 2, 4 … up to five minutes, for a day.
LONGEST_PAUSE_SECONDS = 300.0
GIVEN_UP_AFTER_SECONDS = 86_400.0
_TIMEOUT_SECONDS = 10.0

_log = logging.getLogger(__name__)


class WebhookError(Exception):
    """The webhook did not take the alert; the message names no address."""


def is_configured(alerts: Alerts) -> bool:
    """Whether there is a webhook at all."""
    return bool(alerts.webhook_env or alerts.webhook_file or alerts.webhook_url)


def address_of(alerts: Alerts, environ: Mapping[str, str]) -> str:
    """The webhook's address, from where the configuration says that it lies.

    Raises:
        WebhookError: it is not there, or is none.
    """
    if alerts.webhook_env is not None:
        address, where = environ.get(alerts.webhook_env, ""), f"the environment variable {alerts.webhook_env}"
    elif alerts.webhook_file is not None:
        where = f"the file {alerts.webhook_file}"
        try:
            address = Path(alerts.webhook_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise WebhookError(f"{where} cannot be read") from error
    else:
        address, where = alerts.webhook_url or "", "alerts.webhook"
    address = address.strip()
    try:
        is_address = urlsplit(address).scheme in ("http", "https") and bool(urlsplit(address).hostname)
    except ValueError:
        is_address = False
    if not is_address:
        raise WebhookError(f"{where} holds no http or https address")
    return address


def call(address: str, body: bytes) -> None:
    """Posts the body. Blocks.

    Raises:
        WebhookError: there was no answer, or one that says no.
    """
    request = urllib.request.Request(  # noqa: S310 - only http and https come here
        address, body, {"content-type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=_TIMEOUT_SECONDS):
            return
    except urllib.error.HTTPError as error:
        error.close()
        raise WebhookError(f"it answered {error.code}") from None
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise WebhookError(f"it cannot be reached: {type(reason).__name__}") from None
    except http.client.HTTPException as error:
        # Its message may quote what was sent or received.
        raise WebhookError(f"it did not speak HTTP: {type(error).__name__}") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A call that is sent elsewhere becomes one without a body there, and an answer to that means nothing."""

    def redirect_request(self, *_: Any) -> None:
        """Follows nowhere: the redirect is an answer that says no."""


class Deliveries:
    """Empties the outbox."""

    def __init__(
        self, outbox: AlertOutbox, meters: SpendingMetrics, clock: Callable[[], float], environ: Mapping[str, str] = os.environ
    ) -> None:
        self._outbox, self._meters, self._clock, self._environ = outbox, meters, clock, environ

    async def step(self, alerts: Alerts) -> None:
        """Delivers what is due.

        Raises:
            StoreUnavailableError: the outbox cannot be read or written.
        """
        if not is_configured(alerts):
            return
        for stored in self._outbox.due(self._clock()):
            body = msgspec.json.encode({"text": text_of(stored.alert)})
            try:
                address = address_of(alerts, self._environ)
                await asyncio.to_thread(call, address, body)
            except WebhookError as error:
                self._failed(stored, str(error))
                return  # the others would not fare better
            self._outbox.become(stored.sequence, "delivered")
            self._meters.delivery(spending_metrics.DELIVERED)

    def _failed(self, stored: StoredAlert, reason: str) -> None:
        now = self._clock()
        if now - stored.alert.at > GIVEN_UP_AFTER_SECONDS:
            self._outbox.become(stored.sequence, "given_up")
            self._meters.delivery(spending_metrics.GIVEN_UP)
            _log.error("alert was given up", extra={"budget": stored.alert.budget, "reason": reason})
            return
        self._outbox.tried(stored.sequence, now + pause_after(stored.tries))
        self._meters.delivery(spending_metrics.FAILED)
        _log.warning(
            "alert could not be delivered", extra={"budget": stored.alert.budget, "reason": reason, "tries": stored.tries + 1}
        )


def pause_after(tries: int) -> float:
    """Seconds until the next try after so many that failed before this one."""
    return min(LONGEST_PAUSE_SECONDS, 2.0 ** min(tries, 16))
