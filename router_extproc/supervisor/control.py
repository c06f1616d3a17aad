"""The control side: router.yaml becomes what Envoy and the workers read, and does so again whenever it changes.

Rules of this file
- Nothing is applied unless all of it is good: a bad file is refused with its reasons and the last good one stays.
- Envoy has taken over new clusters before any worker may choose them; a cluster that is no longer chosen stays until the
  requests that were decided before have ended. So no reload drops a request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from router_extproc.config.schema import RouterConfig
from router_extproc.config.state import StateDirectory
from router_extproc.envoyconf.render import RenderedFiles, render
from router_extproc.envoyconf.secrets import deployments_without_key
from router_extproc.errors import ConfigurationError, StartError
from router_extproc.observer.options import Cooling, ObserverOptions, encode_options
from router_extproc.observer.reload_report import ReloadReport
from router_extproc.registry.catalogue import load_catalogue
from router_extproc.registry.compile import compile_registry
from router_extproc.registry.snapshot import Registry, encode_registry
from router_extproc.supervisor.envoy import EnvoyAdmin, EnvoyUnreachableError
from router_extproc.supervisor.envoy_files import EnvoyFiles
from router_extproc.supervisor.files import replace_file

ENVOY_WAIT_SECONDS = 5.0
_ENVOY_POLL_SECONDS = 0.02
# Where Envoy's admin interface cannot be asked, as beside a foreign Envoy: it reads a changed file within this time.
_BLIND_SECONDS = 1.0
# Read once, when the processes start.
_FIXED_SECTIONS = ("admin", "envoy", "workers")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Applied:
    """One configuration in all its forms."""

    config: RouterConfig
    registry: Registry
    files: RenderedFiles


class ControlPlane:
    """Applies configurations to one state directory. ``load`` returns the configuration as it is written now."""

    def __init__(self, load: Callable[[], RouterConfig], state: StateDirectory, environment: Mapping[str, str]) -> None:
        self._load, self._state, self._environment = load, state, environment
        self._report = ReloadReport()
        self._files = EnvoyFiles(state)
        self._first: Applied | None = None
        self._applied: Applied | None = None

    @property
    def applied(self) -> Applied:
        """What is in force, once ``start`` has run."""
        assert self._applied is not None, "nothing was applied yet"  # noqa: S101 - a mistake of the caller
        return self._applied

    def read(self) -> Applied:
        """What is written now, compiled and rendered; nothing is changed.

        Raises:
            ConfigurationError: it cannot be used.
            StartError: a certificate cannot be read.
        """
        config = self._load()
        keyless = deployments_without_key(config, self._environment)
        if keyless:
            _log.warning("deployments without a key are left out until they have one", extra={"deployments": sorted(keyless)})
        return self._rendered(config, compile_registry(config, load_catalogue(), keyless))

    def start(self, first: Applied | None = None) -> Applied:
        """Writes everything before the first process runs: ``first``, or what is written now.

        Raises:
            ConfigurationError: it cannot be used.
            StartError: a certificate cannot be read.
        """
        self._first = first or self.read()
        self._files.write(self._first.files, linger_until=0)
        self._files.sweep(now=0)
        self._publish(self._first)
        return self._first

    async def reload(self, admin: EnvoyAdmin | None) -> bool:
        """Applies what is written now; False when it was refused. ``admin`` is Envoy's, where it can be reached."""
        try:
            applied = self.read()
            if applied == self._applied and self._report.ok:
                return True
            await self._hand_to_envoy(applied, admin)
        except (ConfigurationError, StartError) as error:
            self._refuse(str(error).splitlines())
            await self._render_again(admin)
            return False
        except Exception as error:  # noqa: BLE001 - a mistake of ours in a new file must not take the running one down
            _log.exception("configuration cannot be applied")
            self._refuse([f"{type(error).__name__}: {error}"])
            return False
        self._publish(applied)
        extra = {"revision": applied.registry.revision, "at_next_start": self._waiting_for_restart(applied.config)}
        _log.info("configuration applied", extra=extra)
        return True

    def _rendered(self, config: RouterConfig, registry: Registry) -> Applied:
        workers, keys_exist = config.workers.count, self._state.keys_exist.exists()
        files = render(config, registry, self._state, workers, self._environment, keys_exist=keys_exist)
        return Applied(config, registry, files)

    async def _render_again(self, admin: EnvoyAdmin | None) -> None:
        """What is in force, for what has changed beside the file: a first key closes the door though the file is bad."""
        try:
            applied = self._rendered(self.applied.config, self.applied.registry)
            if applied != self.applied:
                await self._hand_to_envoy(applied, admin)
                self._applied = applied
        except StartError:
            _log.exception("the configuration in force cannot be rendered again")

    async def refusal(self, admin: EnvoyAdmin, rejections_before: int = 0) -> str | None:
        """Waits until Envoy runs what was written last; else says what is wrong."""
        deadline = time.monotonic() + ENVOY_WAIT_SECONDS
        reached = False
        while time.monotonic() < deadline:
            try:
                if self._files.versions.items() <= (await admin.versions()).items():
                    return None
                reached = True
                if await admin.rejections() > rejections_before:
                    return f"Envoy refused the configuration, {self._state.envoy_log} says why"
            except EnvoyUnreachableError:
                _log.debug("Envoy's admin interface does not answer")
                if not reached and time.monotonic() > deadline - ENVOY_WAIT_SECONDS + _BLIND_SECONDS:
                    _log.warning("Envoy's admin interface does not answer, whether it applied the change is not known")
                    return None
            await asyncio.sleep(_ENVOY_POLL_SECONDS)
        return f"Envoy did not apply the configuration within {ENVOY_WAIT_SECONDS:.0f} s"

    def sweep(self) -> None:
        """Takes away what only requests needed that have ended by now."""
        self._files.sweep(time.monotonic())

    async def _hand_to_envoy(self, applied: Applied, admin: EnvoyAdmin | None) -> None:
        before = await _rejections(admin)
        linger_until = time.monotonic() + self.applied.config.workers.drain_timeout / 1_000
        self._files.write(applied.files, linger_until)
        if admin is None:
            await asyncio.sleep(_BLIND_SECONDS)
            return
        refusal = await self.refusal(admin, before)
        if refusal is not None:
            self._files.write(self.applied.files, linger_until)
            raise StartError(refusal)

    def _waiting_for_restart(self, config: RouterConfig) -> list[str]:
        assert self._first is not None, "nothing was applied yet"  # noqa: S101 - a mistake of the caller
        return [name for name in _FIXED_SECTIONS if getattr(config, name) != getattr(self._first.config, name)]

    def _publish(self, applied: Applied) -> None:
        assert self._first is not None, "nothing was applied yet"  # noqa: S101 - a mistake of the caller
        replace_file(self._state.snapshot, encode_registry(applied.registry))
        replace_file(self._state.observer_options, encode_options(_observer_options(applied.config, self._first.config)))
        self._applied = applied
        revision, accepted, refused = applied.registry.revision, self._report.accepted + 1, self._report.refused
        self._write_report(ReloadReport(revision=revision, at=time.time(), accepted=accepted, refused=refused))

    def _refuse(self, problems: list[str]) -> None:
        _log.error("configuration refused, the last good one stays", extra={"problems": problems})
        refused = self._report.refused + 1
        report = msgspec.structs.replace(self._report, at=time.time(), ok=False, problems=tuple(problems), refused=refused)
        self._write_report(report)

    def _write_report(self, report: ReloadReport) -> None:
        self._report = report
        replace_file(self._state.root / "reload.json", msgspec.json.encode(report))


async def _rejections(admin: EnvoyAdmin | None) -> int:
    if admin is None:
        return 0
    try:
        return await admin.rejections()
    except EnvoyUnreachableError:
        return 0


def _observer_options(config: RouterConfig, first: RouterConfig) -> ObserverOptions:
    """What the observer needs of the configuration; it reads no YAML. It listens where it did when it started."""
    return ObserverOptions(
        admin_address=first.admin.address,
        admin_port=first.admin.port,
        admin_token_env=None if config.admin.token is None else config.admin.token.env,
        admin_token_file=None if config.admin.token is None else config.admin.token.file,
        cooling=Cooling(
            failures=config.cooling.failures,
            failure_ratio=config.cooling.failure_ratio,
            window_ms=config.cooling.window,
            time_ms=config.cooling.time,
            max_time_ms=config.cooling.max_time,
        ),
        max_log_bytes=config.decision_log.max_file_bytes,
        keep_ms=config.decision_log.keep,
        keep_records=config.decision_log.keep_records,
    )
