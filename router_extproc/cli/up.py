"""``router-extproc up``: one command runs an instance; without a file and without keys it can run a demo."""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import setproctitle

from router_extproc.cli.ports import add_port_arguments, ports_of, with_ports
from router_extproc.config.load import load_config
from router_extproc.config.schema import RouterConfig
from router_extproc.config.state import StateDirectory
from router_extproc.config.zero import config_from_environment, demo_config
from router_extproc.errors import StartError
from router_extproc.registry.catalogue import known_providers
from router_extproc.simulator import SimulatedDeployment, SimulatorConfig
from router_extproc.supervisor.options import Options
from router_extproc.supervisor.supervisor import Supervisor
from router_extproc.telemetry.json_lines import configure_logging

DEFAULT_FILE = Path("router.yaml")
# What a caller shows, as a part of a curl line. A mode that is not written asks nobody, unless keys are declared: of those made
# at run time nothing is known here.
PROOFS = {
    None: "",
    "none": "",
    "keys": "-H 'authorization: Bearer YOUR_KEY' ",
    "jwt": "-H 'authorization: Bearer YOUR_TOKEN' ",
    "mesh": "--cert YOUR_CERTIFICATE --key YOUR_CERTIFICATES_KEY ",
}
DEMO_DEPLOYMENTS = ("simulated-openai", "simulated-backup", "simulated-anthropic")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    add_instance_arguments(parser)
    demo = parser.add_mutually_exclusive_group()
    demo.add_argument("--demo", action="store_true", help="simulated providers, whatever the environment holds")
    demo.add_argument("--or-demo", action="store_true", help="simulated providers when there is neither a file nor a key")


def add_instance_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that ``up`` and ``serve`` share."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="default: ./router.yaml, else the provider keys in the environment"
    )
    parser.add_argument(
        "--state", type=Path, metavar="DIR", help="sockets, logs and decisions (default: .router-extproc beside the file)"
    )
    add_port_arguments(parser)
    parser.add_argument(
        "--log-level",
        metavar="LEVEL",
        default="info",
        choices=("debug", "info", "warning", "error"),
        help="debug, info, warning or error (default: %(default)s)",
    )


# Nothing is written that other users may read, or the group may change.
_PRIVATE_UMASK = 0o027


def run(arguments: argparse.Namespace) -> int:
    """Runs until SIGTERM or Ctrl-C."""
    return run_instance(arguments, with_envoy=True)


def run_instance(arguments: argparse.Namespace, *, with_envoy: bool) -> int:
    """Runs one instance, with Envoy or beside one."""
    # Logs and snapshots tell who asked what for how much, and processes started here inherit this.
    os.umask(os.umask(_PRIVATE_UMASK) | _PRIVATE_UMASK)
    configure_logging("supervisor", level=arguments.log_level)
    setproctitle.setproctitle(f"router-extproc-supervisor {' '.join(sys.argv[1:])}")
    file: Path | None = arguments.config or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    state = StateDirectory(arguments.state or (file.parent if file else Path()) / ".router-extproc")
    companions: dict[str, list[str]] = {}
    is_demo = getattr(arguments, "demo", False)
    load: Callable[[], RouterConfig]
    if is_demo or (
        file is None and getattr(arguments, "or_demo", False) and config_from_environment(os.environ, known_providers()) is None
    ):
        load, companions, file, is_demo = *_demo(state), None, True
    elif file is not None:
        load = functools.partial(load_config, file)
    else:
        load = _from_environment
    ports = ports_of(arguments)
    options = Options(
        load=lambda: with_ports(load(), ports), state=state, file=file, with_envoy=with_envoy, companions=companions
    )
    greet = functools.partial(_greet, is_demo=is_demo, bootstrap=None if with_envoy else state.envoy / "bootstrap.json")
    with asyncio.Runner() as runner:
        runner.run(Supervisor(options, greet).run())
    return 0


def _from_environment() -> RouterConfig:
    config = config_from_environment(os.environ, known_providers())
    if config is None:
        raise StartError(
            "no router.yaml here and no provider key in the environment: set OPENAI_API_KEY (or another provider's), "
            "write a router.yaml, or try `router-extproc up --demo`"
        )
    return config


def _demo(state: StateDirectory) -> tuple[Callable[[], RouterConfig], dict[str, list[str]]]:
    """Simulated providers on free ports, and the configuration that uses them."""
    ports = {name: _free_port() for name in DEMO_DEPLOYMENTS}
    state.create()
    file = state.root / "simulators.json"
    simulators = tuple(SimulatedDeployment(name=name, port=port) for name, port in ports.items())
    file.write_bytes(msgspec.json.encode(SimulatorConfig(deployments=simulators, obey_header=True)))
    return lambda: demo_config(ports), {"simulators": [sys.executable, "-m", "router_extproc.simulator", "--config", str(file)]}


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port


def _greet(config: RouterConfig, *, is_demo: bool, bootstrap: Path | None = None) -> None:
    """Says where things are. ``bootstrap`` is what an Envoy that is not ours must be started with."""
    scheme = "https" if config.listener.tls else "http"
    host = "127.0.0.1" if config.listener.address in ("0.0.0.0", "::") else config.listener.address
    address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{config.listener.port}"
    if is_demo:
        print("Demo: the providers are simulated. Set OPENAI_API_KEY or write a router.yaml for real ones.")
    print(f"Clients:  {address}/v1")
    print(f"Metrics:  http://{config.admin.address}:{config.admin.port}/metrics")
    print(f"Envoy:    http://{config.envoy.admin_address}:{config.envoy.admin_port}")
    if bootstrap is not None:
        # Written at once, or what was spent would be settled seconds later.
        print(f"Clients are served once Envoy runs: envoy -c {bootstrap} --file-flush-interval-msec 20")
    print("Try:")
    proof = PROOFS["keys" if config.keys and config.auth.mode is None else config.auth.mode]
    print(
        f"  curl -i {address}/v1/chat/completions {proof}-H 'content-type: application/json' "
        """-d '{"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}'""",
        flush=True,
    )
