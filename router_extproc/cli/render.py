"""``router-extproc render``: writes Envoy's configuration for a ``router.yaml``, or a ready profile to start from."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from router_extproc.config.load import load_config, parse_config
from router_extproc.config.schema import RouterConfig
from router_extproc.config.state import DIRECTORY_NAME, StateDirectory
from router_extproc.envoyconf import (
    PROFILES,
    Folders,
    RenderedFiles,
    placeholder_secrets,
    profile_text,
    render,
    render_commented,
)
from router_extproc.envoyconf.upstream_tls import SYSTEM_ROOTS, system_roots
from router_extproc.errors import StartError
from router_extproc.registry.catalogue import load_catalogue
from router_extproc.registry.compile import compile_registry

NAME = "render"
HELP = "write Envoy's configuration for router.yaml"
_SECRET_MODE = 0o600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where to write")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--config", type=Path, default=Path("router.yaml"), metavar="FILE", help="default: ./router.yaml")
    source.add_argument("--profile", choices=PROFILES, help="a ready router.yaml instead, with its commented files")
    parser.add_argument("--state", type=Path, metavar="DIR", help="where the workers' sockets are (default: as for `up`)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--commented", action="store_true", help="YAML with comments instead of JSON")
    form.add_argument("--with-secrets", action="store_true", help="write the keys; otherwise the secret files are empty")
    parser.add_argument("--json", action="store_true", help="print what was written as one JSON document")


def run(arguments: argparse.Namespace) -> int:
    """Writes the files and names them; raises what makes the configuration unusable."""
    files = _profile(arguments.profile) if arguments.profile else _configured(arguments)
    try:
        for name, content in files.items():
            _write(arguments.output / name, content, private=name.startswith("secrets/"))
    except OSError as error:
        raise StartError(f"{arguments.output} cannot be written: {error.strerror}") from error
    if arguments.json:
        print(json.dumps({"directory": str(arguments.output), "files": list(files)}, indent=2))
    else:
        print("\n".join(str(arguments.output / name) for name in files))
    return 0


def _profile(name: str) -> RenderedFiles:
    """A profile's files name one another by relative paths: Envoy is started in their directory, on any machine."""
    text = profile_text(name)
    config = parse_config(text, f"{name}.yaml")
    state = Path(DIRECTORY_NAME)
    folders = Folders(envoy=Path(), sockets=state / "sockets", logs=state / "logs")
    registry = compile_registry(config, load_catalogue())
    return {"router.yaml": text.encode()} | render_commented(config, registry, folders, config.workers.count, SYSTEM_ROOTS[0])


def _configured(arguments: argparse.Namespace) -> RenderedFiles:
    config: RouterConfig = load_config(arguments.config)
    state = StateDirectory(arguments.state) if arguments.state else StateDirectory.beside(arguments.config)
    folders = Folders(envoy=arguments.output.absolute(), sockets=state.sockets, logs=state.logs)
    registry = compile_registry(config, load_catalogue())
    if arguments.commented:
        return render_commented(config, registry, folders, config.workers.count, system_roots())
    files = render(config, registry, folders, config.workers.count, os.environ if arguments.with_secrets else {})
    return files if arguments.with_secrets else files | placeholder_secrets(config)


def _write(path: Path, content: bytes, *, private: bool) -> None:
    """By a rename, so that an Envoy that watches the file never reads half of it; what is the same is left alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and path.read_bytes() == content:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, _SECRET_MODE if private else 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)
