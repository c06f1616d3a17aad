"""What an explanation asks of the instance that runs here: keys and raises made at run time, and how full budgets are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from router_extproc.cli.admin_client import AdminClient, AdminError
from router_extproc.config.state import StateDirectory
from router_extproc.errors import StartError
from router_extproc.registry.spending import KeyGrant, Raise
from router_extproc.store.counters import Level, Query, StoreUnavailableError
from router_extproc.store.identity_reader import IdentityReader


class InstanceHere:
    """An ``explaining.Instance``: what lies in its state directory is read there, levels it is asked for."""

    def __init__(self, state: StateDirectory | None) -> None:
        """``state`` is None where no instance ever was: nothing was made at run time then."""
        self._state = state
        self._made = None if state is None else IdentityReader(state.identities)

    async def find(self, key: str) -> KeyGrant | None:
        """The key of this id.

        Raises:
            StoreUnavailableError: keys that were made at run time cannot be read.
        """
        return None if self._made is None else self._made.find(key)

    async def raises(self) -> Mapping[str, Sequence[Raise]]:
        """Raises by the name of their budget.

        Raises:
            StoreUnavailableError: they cannot be read.
        """
        return {} if self._made is None else self._made.raises()

    async def levels(self, queries: Sequence[Query]) -> Sequence[Level]:
        """What the running instance says.

        Raises:
            StoreUnavailableError: there is none, or it cannot say.
        """
        asked = {"queries": [msgspec.structs.asdict(one) for one in queries]}
        if self._state is None:
            raise StoreUnavailableError("no instance runs here")
        try:
            found = AdminClient.found(self._state.root).post("/levels", asked)
        except (StartError, AdminError) as error:
            raise StoreUnavailableError(str(error)) from error
        return msgspec.convert(found["levels"], list[Level])
