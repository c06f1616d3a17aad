"""``router-extproc train``: makes the classifier's artefact from data, or refits its routing score on one's own outcomes."""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from pathlib import Path

from router_extproc.errors import StartError

FINE = 0
TRAINING_LIBRARIES = ("matplotlib", "onnx", "safetensors", "scipy", "sklearn")
DEFAULT_OUT, DEFAULT_WORK = Path("build/artefact"), Path("build/training")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--data", type=Path, metavar="DIR", help="the training data; default: $ROUTER_EXTPROC_DATA")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"where the artefact goes; default: {DEFAULT_OUT}")
    alone = parser.add_mutually_exclusive_group()
    alone.add_argument(
        "--from",
        dest="log",
        type=Path,
        metavar="LOG",
        help='refit the routing score alone on JSON lines {"prompt": ..., "cheap_was_good_enough": 0 or 1}; needs no data',
    )
    alone.add_argument(
        "--minilm",
        action="store_true",
        help="build the encoder minilm's graph (23 MB) alone, into --out or the artefact in use",
    )
    parser.add_argument(
        "--seed",
        type=number_from_zero,
        default=0,
        help="default: %(default)s; equal seeds and threads make equal artefacts on one machine",
    )
    parser.add_argument(
        "--resume", action="store_true", help="keep the stages of an earlier run whose code and data are unchanged"
    )
    parser.add_argument(
        "--work", type=Path, metavar="DIR", default=DEFAULT_WORK, help="cache and records; default: %(default)s"
    )
    parser.add_argument("--threads", type=number_above_zero, default=os.cpu_count() or 1, help="default: one a core")


def number_above_zero(text: str) -> int:
    """An argument that counts processes or threads."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return int(text)


def number_from_zero(text: str) -> int:
    """An argument that is the seed of a generator."""
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from zero on")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Trains; prints where the artefact is and what to do with it."""
    limit_threads(arguments.threads)
    if arguments.minilm:
        return _build_minilm(arguments.out)
    require_libraries("train", *TRAINING_LIBRARIES)
    if arguments.log is not None:
        return _refit(arguments)
    from router_extproc.training.build import build_artefact  # noqa: PLC0415 - needs the extra, and slow to import
    from router_extproc.training.data_cards import data_folder  # noqa: PLC0415 - as above
    from router_extproc.training.pipeline import Context  # noqa: PLC0415 - as above
    from router_extproc.training.progress import BarProgress  # noqa: PLC0415 - as above
    from router_extproc.training.stages import STAGES, teacher_of  # noqa: PLC0415 - as above

    context = Context(
        data=data_folder(arguments.data),
        work=arguments.work,
        out=arguments.work / "artefact",
        seed=arguments.seed,
        threads=arguments.threads,
        progress=BarProgress(),
    )
    out = arguments.out or DEFAULT_OUT
    started = time.monotonic()
    manifest = build_artefact(context, out, resume=arguments.resume, stages=STAGES, vectors=teacher_of(context))
    size = sum((out / name).stat().st_size for name in manifest.files) / 1e6
    print(f"{out}: {len(manifest.files)} files, {size:.1f} MB, in {(time.monotonic() - started) / 60:.1f} minutes")
    print(f"try it: ROUTER_EXTPROC_ARTEFACT={out} router-extproc classify prompts.jsonl")
    return FINE


def _refit(arguments: argparse.Namespace) -> int:
    from router_extproc.analysis.location import artefact_folder  # noqa: PLC0415 - after the threads are limited
    from router_extproc.training.build import build_refitted  # noqa: PLC0415 - needs the extra, and slow to import
    from router_extproc.training.pipeline import Context  # noqa: PLC0415 - as above
    from router_extproc.training.progress import BarProgress  # noqa: PLC0415 - as above
    from router_extproc.training.refit import refit  # noqa: PLC0415 - as above

    base, out = artefact_folder(os.environ), arguments.out or DEFAULT_OUT
    context = Context(
        data=Path(),
        work=arguments.work,
        out=arguments.work / "refitted",
        seed=arguments.seed,
        threads=arguments.threads,
        progress=BarProgress(),
    )
    refitted = build_refitted(context, base, arguments.log, out, refit).refitted or {}
    print(f"{out}: the routing score of {base}, refitted on {arguments.log}")
    for name, value in refitted.items():
        print(f"  {name}: {value}")
    return FINE


def limit_threads(threads: int) -> None:
    """Tells the numeric libraries how many cores they may use; they read it once, when they are loaded."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, str(threads))


def require_libraries(extra: str, *names: str) -> None:
    """Makes sure that an extra is installed.

    Raises:
        StartError: it is not; the message says how to install it.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise StartError(f"{', '.join(missing)} must be installed: pip install 'router-extproc[{extra}]'")


def _build_minilm(out: Path | None) -> int:
    require_libraries("minilm", "onnx", "safetensors")
    from router_extproc.analysis.encoders.minilm import GRAPH_FILE  # noqa: PLC0415 - after the threads are limited
    from router_extproc.analysis.location import artefact_folder  # noqa: PLC0415 - as above
    from router_extproc.training.bert_graph import build_int8  # noqa: PLC0415 - needs the extra, and slow to import
    from router_extproc.training.teacher import model_folder  # noqa: PLC0415 - as above

    graph = (out or artefact_folder(os.environ)) / GRAPH_FILE
    build_int8(model_folder() / "model.safetensors", graph)
    print(f"{graph}: {graph.stat().st_size / 1e6:.1f} MB")
    return FINE
