"""``router.yaml`` in, the files that Envoy reads out: pure but for the keys, which are read where they lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import resources

from router_extproc.config.schema import RouterConfig
from router_extproc.envoyconf.bootstrap import build_bootstrap
from router_extproc.envoyconf.clusters import build_clusters
from router_extproc.envoyconf.commented import to_yaml
from router_extproc.envoyconf.comments import COMMENTS, HEADINGS
from router_extproc.envoyconf.identity import read_token_keys
from router_extproc.envoyconf.layout import Directories, Layout
from router_extproc.envoyconf.listener import buffer_bytes, build_listener
from router_extproc.envoyconf.messages import Message, typed
from router_extproc.envoyconf.routes import build_routes
from router_extproc.envoyconf.secrets import placeholder_secrets, render_secrets
from router_extproc.envoyconf.upstream_tls import system_roots
from router_extproc.registry.snapshot import Registry

SCRIPTS = {
    "answered.lua": ("answered.lua",),
    "router.lua": ("model.lua", "events.lua", "router.lua"),
    "undecided.lua": ("model.lua", "undecided.lua"),
    "usage.lua": ("usage.lua",),
}
"""Each Lua file that Envoy reads, and what it is put together from."""

RenderedFiles = dict[str, bytes]
"""File contents by path below the rendered directory, in the order in which they are to be written."""


def render(
    config: RouterConfig,
    registry: Registry,
    directories: Directories,
    workers: int,
    environ: Mapping[str, str],
    *,
    keys_exist: bool = False,
) -> RenderedFiles:
    """All files of one configuration, secrets included. ``workers`` is the number of decider sockets.

    ``keys_exist``: keys were made at run time, so that nobody may be served whom no worker has asked for one.

    Equal input gives equal bytes, so a file that did not change need not be written again.

    Raises:
        StartError: a certificate, its key or a set of public keys cannot be read.
    """
    layout = Layout.of(directories, workers)
    files = render_secrets(config, environ)
    files |= scripts()
    token_keys = read_token_keys(config)
    for name, message in build_messages(
        config, registry, layout, system_roots(), keys_exist=keys_exist, token_keys=token_keys
    ).items():
        files[f"{name}.json"] = encode(message)
    return files


def render_commented(
    config: RouterConfig, registry: Registry, directories: Directories, workers: int, roots: str
) -> RenderedFiles:
    """The same configuration as YAML that explains itself, without any secret. ``roots`` as in ``build_messages``."""
    layout = Layout.of(directories, workers, "yaml")
    files = {**placeholder_secrets(config), **scripts()}
    for name, message in build_messages(config, registry, layout, roots).items():
        files[f"{name}.yaml"] = to_yaml(message, COMMENTS[name], HEADINGS[name]).encode()
    return files


def build_messages(
    config: RouterConfig,
    registry: Registry,
    layout: Layout,
    roots: str,
    *,
    keys_exist: bool = False,
    token_keys: Message | None = None,
) -> dict[str, Message]:
    """The four documents, in the order in which Envoy must see them: clusters before the routes that name them.

    ``roots`` is the path of the system's bundle of certificate authorities.
    """
    size = buffer_bytes(config)
    clusters = build_clusters(config, registry, layout, roots, size)
    return {
        "cds": _discovery("config.cluster.v3.Cluster", clusters),
        "rds": _discovery("config.route.v3.RouteConfiguration", [build_routes(config, registry, keys_exist=keys_exist)]),
        "lds": _discovery("config.listener.v3.Listener", [build_listener(config, layout, token_keys)]),
        "bootstrap": build_bootstrap(config, layout, size),
    }


def scripts() -> RenderedFiles:
    """The Lua files: the same for every configuration, their data comes from clusters, routes and the ticket."""
    folder = resources.files("router_extproc.envoyconf").joinpath("lua")
    return {name: b"\n".join(folder.joinpath(part).read_bytes() for part in parts) for name, parts in SCRIPTS.items()}


def encode(message: Message) -> bytes:
    """One document as indented JSON."""
    return json.dumps(message, indent=1).encode() + b"\n"


def version(resources_: list[Message]) -> str:
    """The version that Envoy's ``version_text`` statistics report once it runs these resources."""
    return hashlib.sha256(json.dumps(resources_, sort_keys=True).encode()).hexdigest()[:16]


def _discovery(type_name: str, messages: list[Message]) -> Message:
    """A file of the xDS file protocol."""
    typed_messages = [typed(type_name, **message) for message in messages]
    return {"version_info": version(typed_messages), "resources": typed_messages}
