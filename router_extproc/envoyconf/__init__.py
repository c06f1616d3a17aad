"""``router.yaml`` becomes Envoy's configuration: bootstrap, listener, routes, clusters, secrets."""

from __future__ import annotations

from router_extproc.envoyconf.layout import Directories, Layout
from router_extproc.envoyconf.render import RenderedFiles, render
from router_extproc.envoyconf.secrets import credential_files, render_secrets

__all__ = ["Directories", "Layout", "RenderedFiles", "credential_files", "render", "render_secrets"]
