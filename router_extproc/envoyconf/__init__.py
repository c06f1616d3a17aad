"""``router.yaml`` becomes Envoy's configuration: bootstrap, listener, routes, clusters, secrets."""

from __future__ import annotations

from router_extproc.envoyconf.layout import Directories, Folders, Layout
from router_extproc.envoyconf.profiles import PROFILES, profile_text
from router_extproc.envoyconf.render import RenderedFiles, render, render_commented
from router_extproc.envoyconf.secrets import credential_files, placeholder_secrets, render_secrets

__all__ = [
    "PROFILES",
    "Directories",
    "Folders",
    "Layout",
    "RenderedFiles",
    "credential_files",
    "placeholder_secrets",
    "profile_text",
    "render",
    "render_commented",
    "render_secrets",
]
