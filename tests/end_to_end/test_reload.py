"""Editing router.yaml while requests run: applied on both sides within two seconds, and no request notices."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.held_streams import HeldStreams
from tests.end_to_end.load import Load, chat
from tests.end_to_end.running import Instance, Simulators, at_work, running, until, until_everywhere
from tests.end_to_end.stopwatch import Stopwatch

pytestmark = pytest.mark.end_to_end

PROVIDERS = ("one", "two", "three")
SECONDS_TO_APPLY = 2.0
LOAD = [chat(), chat(stream=True), chat(size=3_000)]


def configuration(simulators: Simulators, *names: str, key: Path | None = None) -> str:
    """Every named provider serves the model; ``auto`` tries them in this order."""
    credentials = f", credentials: [{{file: {key}}}]" if key is not None else ""
    providers = [f'  {name}: {{base_url: "{simulators.url(name)}/v1"{credentials}}}' for name in names]
    deployments = [f"      - {{provider: {name}, model: id-at-{name}}}" for name in names]
    targets = ", ".join(f"{{deployment: {name}/small}}" for name in names)
    lines = ["providers:", *providers, "models:", "  small:", "    tier: economy", "    context_window: 100000"]
    lines += ["    output_limit: 10000", "    prices: {input: 1, output: 2}", "    deployments:", *deployments]
    lines += ["routes:", f"  auto: {{targets: [{targets}]}}", "cooling: {failures: 1000, failure_ratio: 1.0}"]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    deployments = {name: {"models": [f"id-at-{name}"], "api_keys": ["key-1", "key-2"]} for name in PROVIDERS}
    for name in ("one", "two"):
        del deployments[name]["api_keys"]
    with contextlib.closing(Simulators(tmp_path_factory.mktemp("providers"), deployments)) as simulators:
        yield simulators


@pytest.fixture(scope="module")
def instance(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Its router.yaml lies as Kubernetes mounts a ConfigMap: a link to a link that is swapped."""
    instance = Instance(tmp_path_factory.mktemp("instance"), configuration(simulators, "one"))
    text = instance.file.read_text(encoding="utf-8")
    instance.file.unlink()
    instance.file.symlink_to("..data/router.yaml")
    swap_links(instance, text)
    with running(instance):
        yield instance


@pytest.fixture(autouse=True)
def _healed(simulators: Simulators, instance: Instance) -> None:
    simulators.heal()
    change(instance, swap_links, configuration(simulators, "one"))
    until_all_choose(instance, "one/small")


def in_place(instance: Instance, text: str) -> None:
    """As ``>`` in a shell does it: the same file, cut to nothing and written anew."""
    instance.file.resolve().write_text(text, encoding="utf-8")


def by_rename(instance: Instance, text: str) -> None:
    """As editors do it: a new file takes the old one's place."""
    target = instance.file.resolve()
    temporary = target.with_suffix(".new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(target)


def swap_links(instance: Instance, text: str) -> None:
    """As Kubernetes does it: a new folder, and ``..data`` is renamed over to point there."""
    folder = instance.folder / f"..{time.time_ns()}"
    folder.mkdir()
    (folder / "router.yaml").write_text(text, encoding="utf-8")
    link = instance.folder / "..data_tmp"
    link.symlink_to(folder.name)
    link.replace(instance.folder / "..data")


def change(instance: Instance, write: Callable[[Instance, str], None], text: str) -> None:
    write(instance, instance.complete(text))


def deployment_of(instance: Instance) -> str | None:
    return instance.ask().headers.get("x-router-deployment")


def until_all_choose(instance: Instance, deployment: str) -> None:
    until_everywhere(lambda: deployment_of(instance) == deployment)


def report(instance: Instance) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((instance.state / "reload.json").read_bytes())
    return content


@pytest.mark.parametrize("write", [in_place, by_rename, swap_links])
def test_a_changed_file_applies_within_two_seconds_and_no_request_fails(
    instance: Instance, simulators: Simulators, write: Callable[[Instance, str], None]
) -> None:
    """A new provider in front of the chain serves within two seconds of the edit, under load, with nothing failed."""
    with Load([instance.port], LOAD, connections=2, pause=0.01) as load:
        load.after(50)
        with Stopwatch() as watch:
            edited = time.monotonic()
            change(instance, write, configuration(simulators, "two", "one"))
            time.sleep(SECONDS_TO_APPLY)
        due = edited + SECONDS_TO_APPLY + watch.lost
        load.after(100)
        until(lambda: time.monotonic() > due)
        load.after(100)
    assert not load.not_served
    assert not load.not_decided
    served_by = load.by(lambda outcome: (outcome.started > due, outcome.headers["x-router-deployment"]))
    assert set(served_by) == {(False, "one/small"), (False, "two/small"), (True, "two/small")}
    assert served_by[False, "one/small"] >= 50


def test_streams_outlive_the_removal_of_their_deployment(instance: Instance, simulators: Simulators) -> None:
    """A stream that runs while its deployment is taken out of the file ends as it would have, with its last event."""
    with at_work(HeldStreams()) as provider:
        with_held = configuration(simulators, "one").replace("one", "held").replace(simulators.url("one"), provider.host)
        change(instance, swap_links, with_held)
        until_all_choose(instance, "held/small")
        with Load([instance.port], [chat(stream=True)], connections=8, requests=8) as streams:
            until(lambda: provider.open == 8)
            change(instance, swap_links, configuration(simulators, "two"))
            until_all_choose(instance, "two/small")
            assert provider.open == 8
            with Load([instance.port], LOAD, connections=2, requests=40) as others:
                others.join()
            assert provider.open == 8
            provider.end()
            streams.join()
    assert streams.by(lambda outcome: outcome.headers["x-router-deployment"]) == {"held/small": 8}
    assert not streams.not_served
    assert not others.not_served
    assert others.by(lambda outcome: outcome.headers["x-router-deployment"]) == {"two/small": 40}


def test_many_edits_in_a_row_cost_nothing(instance: Instance, simulators: Simulators) -> None:
    """Providers come and go ten times under load without a failed or an undecided request."""
    with Load([instance.port], LOAD, connections=4) as load:
        for turn in range(10):
            change(instance, swap_links, configuration(simulators, *(("two",) if turn % 2 else ("one", "two"))))
            load.after(40)
    assert not load.not_served
    assert not load.not_decided


def test_a_bad_file_is_refused_and_the_last_good_one_stays(instance: Instance, simulators: Simulators) -> None:
    """The reason stands in the log, in reload.json and in /readyz, and the metric counts it; requests go on as before."""
    good, before = configuration(simulators, "one"), report(instance)
    with Load([instance.port], LOAD, connections=2) as load:
        change(instance, by_rename, good.replace("targets: [{deployment: one/small}]", "targets: [{model: smal}]"))
        refused = until(lambda: (found := report(instance))["refused"] == before["refused"] + 1 and found)
        load.after(50)
    assert not load.not_served
    assert load.by(lambda outcome: outcome.headers["x-router-deployment"]) == {"one/small": len(load.outcomes)}

    assert refused["ok"] is False
    [problem] = refused["problems"]
    assert problem.startswith(f"{instance.file}:")
    assert "routes.auto.targets" in problem
    assert "smal" in problem
    until(lambda: "configuration refused, the last good one stays" in (instance.folder / "up.log").read_text())
    assert problem in (instance.folder / "up.log").read_text().replace('\\"', '"')
    assert until(lambda: metric(instance, 'router_config_reloads_total{result="refused"}') == refused["refused"])
    assert metric(instance, "router_config_last_reload_success") == 0
    assert problem in instance.admin.get(f"{instance.admin_url}/readyz").text.replace('\\"', '"')
    assert instance.is_ready()

    change(instance, by_rename, configuration(simulators, "two"))
    until(lambda: deployment_of(instance) == "two/small")
    until(lambda: report(instance)["ok"] is True)
    until(lambda: metric(instance, "router_config_last_reload_success") == 1)


def metric(instance: Instance, name: str) -> float | None:
    for line in instance.admin.get(f"{instance.admin_url}/metrics").text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.rpartition(" ")[2])
    return None


def test_what_envoy_refuses_is_taken_back(instance: Instance, simulators: Simulators) -> None:
    """A listener port that somebody else holds is refused like any other fault of the file, and all stays as it was."""
    before = report(instance)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        text = instance.complete(configuration(simulators, "two")).replace(f"port: {instance.port}", f"port: {taken}")
        with Load([instance.port], LOAD, connections=2) as load:
            swap_links(instance, text)
            refused = until(lambda: (found := report(instance))["refused"] == before["refused"] + 1 and found)
            load.after(50)
    assert not load.not_served
    assert "Envoy refused the configuration" in refused["problems"][0]
    assert deployment_of(instance) == "one/small"


def test_a_new_key_alone_is_used_within_two_seconds(instance: Instance, simulators: Simulators) -> None:
    """A credential file that changes, and nothing else, reaches the provider under load; no request fails on the way."""
    key = instance.folder / "key.txt"
    key.write_text("key-1\n", encoding="utf-8")
    change(instance, swap_links, configuration(simulators, "three", key=key))
    until(lambda: deployment_of(instance) == "three/small" and used_key(simulators) == "Bearer key-1")
    with Load([instance.port], LOAD, connections=2) as load:
        load.after(20)
        with Stopwatch() as watch:
            key.with_suffix(".new").write_text("key-2\n", encoding="utf-8")
            key.with_suffix(".new").replace(key)
            until(lambda: used_key(simulators) == "Bearer key-2", step=0.02)
        assert watch.seconds < SECONDS_TO_APPLY
        load.after(20)
    assert not load.not_served
    assert set(keys(simulators)[-10:]) == {"Bearer key-2"}


def keys(simulators: Simulators) -> list[str]:
    return [dict(request["headers"])["authorization"] for request in simulators.requests("three")]


def used_key(simulators: Simulators) -> str | None:
    found = keys(simulators)
    return found[-1] if found else None
