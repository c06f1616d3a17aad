"""Who calls: the proof that a request carries, held against what is known about keys, tokens and peers.

Rules of this file
- Nothing here asks the network: declared keys are in the configuration, others in a local file that the observer writes.
- What cannot be checked is nobody: where keys are asked for and cannot be read, the request is refused. Where they were lost,
  or a shared store has not told them yet, nobody is let in without one either.
- Tokens and certificates are verified by Envoy, which removes every header of these names that a client sends.
"""

from __future__ import annotations

import base64
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from router_extproc.caller import NOBODY, Caller
from router_extproc.errors import AuthenticationError, UnavailableError
from router_extproc.limits.identity import bearer_of, believed, caller_of_claims, caller_of_key, caller_of_peer, key_id
from router_extproc.registry.spending import AuthMode, KeyGrant, Raise, Spending
from router_extproc.store.counters import StoreUnavailableError

TOKEN_HEADER = "x-router-jwt"  # noqa: S105 - a header's name
"""Envoy puts the payload of a verified token here, in base64url."""

PEER_HEADER = "x-router-peer"
"""Envoy puts the URI names of a verified client certificate here, parted by commas."""

# Busy workers look for raises every so often, not with every request.
_RAISES_HOLD_SECONDS = 0.02
_MOST_SHOWN = 4_096
_UNREADABLE = "Keys cannot be checked at the moment."

_claims = msgspec.json.Decoder(dict[str, Any])

_log = logging.getLogger(__name__)


class Identities(Protocol):
    """Keys and raises that were made at run time; each method may raise ``StoreUnavailableError``."""

    def find(self, key: str) -> KeyGrant | None:
        """The key of this id."""

    def has_keys(self) -> bool:
        """Whether any key was ever made."""

    def has_followed(self) -> bool:
        """Whether those of a shared store were ever taken over."""

    def raises(self) -> Mapping[str, Sequence[Raise]]:
        """All raises by the name of their budget."""


class Identify(Protocol):
    """Who calls, by the proof that the headers carry."""

    def identify(self, headers: Mapping[str, str], spending: Spending, now: float) -> Caller:
        """The caller.

        Raises:
            RequestError: there is no proof, or it does not hold or cannot be checked.
        """


class NobodyAsked:
    """Everybody may come."""

    def identify(self, headers: Mapping[str, str], spending: Spending, now: float) -> Caller:  # noqa: ARG002 - an ``Identify``
        """Nobody in particular."""
        return NOBODY


NOBODY_ASKED = NobodyAsked()


class Callers:
    """Tells who calls; ``refresh`` from time to time learns whether there are keys."""

    def __init__(self, identities: Identities, were_made: Callable[[], bool] = lambda: False) -> None:
        """``were_made`` says whether keys were ever made, also where ``identities`` know of none any more."""
        self._identities, self._were_made = identities, were_made
        self._have_keys = False
        self._has_followed = False
        self._is_readable = True
        # What was last known of the keys that were shown, and of raises.
        self._shown: dict[str, KeyGrant] = {}
        self._raises: Mapping[str, Sequence[Raise]] = {}
        self._raises_hold_until = -math.inf
        self.refresh()

    def refresh(self) -> None:
        """Looks whether a key was made at run time; one that was made stays made."""
        if self._have_keys:
            return
        try:
            self._have_keys = self._were_made() or self._identities.has_keys()
        except StoreUnavailableError:
            # Somebody may have made keys there: to ask nobody would be an open door.
            if self._is_readable:
                _log.exception("keys cannot be read: every request is refused where keys decide")
            self._is_readable = False
            return
        self._is_readable = True

    def mode(self, spending: Spending) -> AuthMode:
        """How callers prove who they are: as written, else by keys from the first key on."""
        if spending.auth.mode is not None:
            return spending.auth.mode
        asks = self._have_keys or spending.keys or not self._is_readable or self._waits(spending)
        return "keys" if asks else "none"

    def identify(self, headers: Mapping[str, str], spending: Spending, now: float) -> Caller:
        """The caller of a request with these headers (lower-case names); ``now`` is in epoch seconds.

        Raises:
            AuthenticationError: there is no proof, or it does not hold.
            UnavailableError: the proof cannot be checked now.
        """
        caller = self._proved(headers, spending, now)
        return believed(caller, headers, spending.tenants) if spending.auth.trusted else caller

    def grant_of(self, caller: Caller, spending: Spending) -> KeyGrant | None:
        """What was known about the key that the caller showed when it was identified; None where another proof was given.

        Raises:
            UnavailableError: it cannot be read now.
        """
        if not caller.key:
            return None
        return spending.keys.get(caller.key) or self._shown.get(caller.key) or self._grant(caller.key, spending)

    def raises(self) -> Mapping[str, Sequence[Raise]]:
        """Raises of budgets made at run time, looked up once in a while; none while they cannot be read, because a lower cap
        is the safe one.
        """
        now = time.monotonic()
        if now >= self._raises_hold_until:
            self._raises_hold_until = now + _RAISES_HOLD_SECONDS
            try:
                self._raises = self._identities.raises()
            except StoreUnavailableError:
                self._raises = {}
        return self._raises

    def _proved(self, headers: Mapping[str, str], spending: Spending, now: float) -> Caller:
        mode = self.mode(spending)
        if mode == "none":
            return NOBODY
        if mode == "jwt":
            return caller_of_claims(_read_claims(headers.get(TOKEN_HEADER)), spending.auth.jwt, spending.tenants)
        if mode == "mesh":
            return caller_of_peer(headers.get(PEER_HEADER, ""), spending.auth.mesh, spending.tenants)
        shown = bearer_of(headers)
        name = None if shown is None else key_id(shown)
        grant = None if name is None else self._grant(name, spending)
        if grant is None and (name is not None or spending.auth.mode is None) and self._waits(spending):
            raise UnavailableError(_UNREADABLE, code="keys_unavailable", retry_after=1)
        return caller_of_key(shown, grant, spending.tenants, now)

    def _grant(self, name: str, spending: Spending) -> KeyGrant | None:
        declared = spending.keys.get(name)
        if declared is not None:
            return declared
        try:
            grant = self._identities.find(name)
        except StoreUnavailableError:
            raise UnavailableError(_UNREADABLE, code="keys_unavailable", retry_after=1) from None
        if grant is not None:
            if len(self._shown) >= _MOST_SHOWN:
                self._shown.clear()
            self._shown[name] = grant
        return grant

    def _waits(self, spending: Spending) -> bool:
        """Whether keys may exist in a shared store that never told this instance."""
        if self._has_followed or spending.store.kind == "sqlite":
            return False
        try:
            self._has_followed = self._identities.has_followed()
        except StoreUnavailableError:
            return True
        return not self._has_followed


def _read_claims(encoded: str | None) -> dict[str, Any]:
    """The claims of the token that Envoy verified."""
    if not encoded:
        raise AuthenticationError("The request carries no valid token.")
    try:
        return _claims.decode(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except (ValueError, msgspec.DecodeError):
        raise AuthenticationError("The request's token cannot be read.") from None
