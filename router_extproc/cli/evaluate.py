"""``router-extproc evaluate``: all tables and plots of one artefact, beside what it has to reach."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from router_extproc.cli.train import (
    DEFAULT_WORK,
    TRAINING_LIBRARIES,
    limit_threads,
    number_above_zero,
    number_from_zero,
    require_libraries,
)

FINE = 0
DEFAULT_OUT = Path("build/evaluation")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--data", type=Path, metavar="DIR", help="the data; default: $ROUTER_EXTPROC_DATA")
    parser.add_argument("--out", type=Path, metavar="DIR", default=DEFAULT_OUT, help="tables and plots; default: %(default)s")
    parser.add_argument("--artefact", type=Path, metavar="DIR", help="default: $ROUTER_EXTPROC_ARTEFACT, else the shipped one")
    parser.add_argument("--only", action="append", metavar="REPORT", help="one report instead of all; may be repeated")
    parser.add_argument("--work", type=Path, metavar="DIR", default=DEFAULT_WORK, help="cache; default: %(default)s")
    parser.add_argument("--seed", type=number_from_zero, default=0, help="of resampling and folds; default: %(default)s")
    parser.add_argument("--threads", type=number_above_zero, default=1, help="default: %(default)s, as the service has")


def run(arguments: argparse.Namespace) -> int:
    """Measures; prints the targets and where the tables are. Missing a target is a finding of the report, not a failure."""
    limit_threads(arguments.threads)
    require_libraries("train", *TRAINING_LIBRARIES)
    from router_extproc.analysis.location import artefact_folder  # noqa: PLC0415 - after the threads are limited
    from router_extproc.training.data_cards import data_folder  # noqa: PLC0415 - needs the extra, and slow to import
    from router_extproc.training.evaluation import choose, evaluate, targets_table  # noqa: PLC0415 - as above
    from router_extproc.training.pipeline import Context  # noqa: PLC0415 - as above
    from router_extproc.training.progress import BarProgress  # noqa: PLC0415 - as above
    from router_extproc.training.report import shown  # noqa: PLC0415 - as above

    artefact = arguments.artefact or artefact_folder(os.environ)
    context = Context(
        data=data_folder(arguments.data),
        work=arguments.work,
        out=arguments.out,
        seed=arguments.seed,
        threads=arguments.threads,
        progress=BarProgress(),
        purpose="evaluation",
    )
    figures = evaluate(context, artefact, arguments.out, choose(arguments.only))
    for row in targets_table(figures).rows:
        print("  ".join(shown(cell) for cell in row))
    print(f"tables and plots: {arguments.out}")
    return FINE
