from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.envoyconf.providers import Providers
from tests.envoyconf.running import Envoy, free_port
from tests.envoyconf.samples import Folders, configuration, registry_of
from tests.envoyconf.tickets import TicketWorker

DEPLOYMENTS = ("a", "b", "c", "d")


@pytest.fixture(scope="package")
def providers() -> Iterator[Providers]:
    running = Providers()
    yield running
    running.stop()


@pytest.fixture(scope="package")
def live(providers: Providers) -> Iterator[Envoy]:
    """Envoy with one deployment for each scripted provider, two that cannot be reached, and a worker that sets tickets."""
    urls = {name: providers.url(name) for name in DEPLOYMENTS}
    urls |= {"refused": f"http://127.0.0.1:{free_port()}/v1", "unresolvable": "http://no-such-host.invalid/v1"}
    sections = {
        "listener": {"port": free_port()},
        "envoy": {"admin_port": free_port()},
        "limits": {"max_body_bytes": "24MiB"},
        # Where silence is tested there is a reason to hurry, and nowhere else: a large body takes its time.
        "defaults": {"timeouts": {"stream_idle": "60s"}},
        "routes": {
            "brief": {"timeouts": {"stream_idle": "600ms"}},
            "patient": {"timeouts": {"stream_idle": "3s"}},
            "calm": {"timeouts": {"stream_idle": "3s"}},
        },
        "providers": {"wildcards": {"base_url": providers.url("wild"), "credentials": []}}
        | {
            name: {"base_url": url, "credentials": [{"env": f"KEY_{name}"}] if name == "a" else []}
            for name, url in urls.items()
        },
        "models": {"any-*": {"deployments": [{"provider": "wildcards", "model": "*", "name": "wild"}]}}
        | {f"model-{name}": {"deployments": [{"provider": name, "model": f"vendor-{name}", "name": name}]} for name in urls},
    }
    config = configuration(sections, base={})
    # Unix socket paths are short; pytest's own folders are not.
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        envoy = Envoy(root, config, registry_of(config, ("a", "b")), {"KEY_a": "sk-canary-of-a"})
        worker = TicketWorker(envoy.folders.sockets / "worker-0.sock")
        try:
            envoy.start()
            envoy.until(lambda: envoy.stats("cluster.extproc.membership_healthy") == {"cluster.extproc.membership_healthy": 1})
            yield envoy
        finally:
            envoy.stop()
            worker.stop()


@pytest.fixture
def client(live: Envoy, providers: Providers) -> Iterator[httpx.Client]:
    providers.reset()
    with httpx.Client(base_url=live.url, trust_env=False, timeout=20) as running:
        yield running


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Directories that rendered files name."""
    return Folders(tmp_path)
