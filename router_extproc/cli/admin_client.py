"""Asks the admin API of the running instance, found from the working directory as its commands find it.

The token for an instance whose admin API does not listen on loopback is read from ``ROUTER_ADMIN_TOKEN``.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from router_extproc.config.state import StateDirectory, find_instance
from router_extproc.errors import RouterError, StartError

TOKEN_VARIABLE = "ROUTER_ADMIN_TOKEN"  # noqa: S105 - the variable's name
_TIMEOUT_SECONDS = 10.0
# Addresses that mean all of this machine's are asked at its own.
_ALL_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class AdminError(RouterError):
    """The admin API said no, or nothing; the message says what."""


def add_instance_argument(parser: argparse.ArgumentParser) -> None:
    """The option by which another instance than the one here is meant."""
    parser.add_argument("--state", type=Path, metavar="DIR", help="the instance's state directory (default: found from here)")


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """The option for those who read by machine."""
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _has_ended(state: StateDirectory) -> bool:
    """Whether nobody holds the directory any more. Who was killed leaves addresses behind, which may be another instance's now:
    a key for one would be made at the other.
    """
    try:
        with (state.root / "lock").open("rb") as file:
            # For an instant, which whoever starts just then waits for.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True
    except OSError:
        # Somebody holds it, or there is none, as where another program wrote the addresses.
        return False


class AdminClient:
    """One instance's admin API."""

    def __init__(self, base: str, environ: Mapping[str, str] = os.environ) -> None:
        self._base, self._token = base, environ.get(TOKEN_VARIABLE)

    @classmethod
    def found(cls, state: Path | None) -> AdminClient:
        """The instance over ``state``, else the one that runs here or above.

        Raises:
            StartError: there is none, or none any more.
        """
        directory = StateDirectory(state) if state is not None else find_instance()
        try:
            instance = json.loads(directory.instance.read_bytes()) if directory is not None else {}
        except (OSError, ValueError):
            instance = {}
        if not isinstance(instance, dict) or "admin" not in instance:
            where = "here" if state is None else f"in {state}"
            raise StartError(f"no instance runs {where}: start one with `router-extproc up`, or name it with --state DIR")
        if directory is not None and _has_ended(directory):
            raise StartError(f"the instance in {directory.root} was killed: start it again with `router-extproc up`")
        return cls(own_address(str(instance["admin"])))

    def get(self, path: str, query: Mapping[str, str | int | None] | None = None) -> Any:
        """What the API answers; members of ``query`` that are None are left out.

        Raises:
            AdminError: it said no, or nothing.
        """
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        return self._call(f"{path}?{urlencode(asked)}" if asked else path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """What the API answers to a change.

        Raises:
            AdminError: it said no, or nothing.
        """
        return self._call(path, json.dumps(body).encode())

    def _call(self, path: str, body: bytes | None) -> Any:
        headers = {"content-type": "application/json"} if body is not None else {}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(self._base + path, body, headers)  # noqa: S310 - an address of ours
        # The instance is here: a proxy of the environment has no part in it.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise AdminError(_message(error.read(), error.code)) from None
        except (OSError, ValueError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise AdminError(f"the instance's admin API at {self._base} cannot be reached: {reason}") from None


def own_address(url: str) -> str:
    """The admin API's address as this machine reaches it."""
    scheme, _, place = url.partition("://")
    address, _, port = place.rpartition(":")
    address = address.strip("[]")
    address = _ALL_ADDRESSES.get(address, address)
    return f"{scheme}://{f'[{address}]' if ':' in address else address}:{port}"


def table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Columns for people, without lines that would be in the way of cutting and pasting."""
    lines = [headings, *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(headings))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def _message(body: bytes, status: int) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the admin API answered {status}"
