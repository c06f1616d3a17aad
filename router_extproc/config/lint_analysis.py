"""What a file says about analysis without effect: qualities, tasks, routes and encoders that nobody asks for."""

from __future__ import annotations

from collections.abc import Iterator

from router_extproc.config.redaction import shown
from router_extproc.config.references import all_plans
from router_extproc.config.schema import RouterConfig
from router_extproc.config.source import Path, Source
from router_extproc.errors import Problem


def lint_analysis(config: RouterConfig, source: Source) -> Iterator[Problem]:
    """Every warning about analysis, in no order."""
    yield from _qualities(config, source)
    yield from _unused(config, source)


def _warn(source: Source, path: Path, message: str, fix: str, code: str, *, key: bool = False) -> Problem:
    return source.problem(path, message, fix=fix, code=code, severity="warning", key=key)


def _qualities(config: RouterConfig, source: Source) -> Iterator[Problem]:
    """A quality beside a strategy that asks for none: perhaps the models' own was meant."""
    for path, plan in all_plans(config):
        strategy = plan.strategy or ("ordered" if plan.targets else "auto")
        if plan.quality is not None and strategy != "auto":
            message = f"has no effect: the strategy {strategy} does not ask whether a model is good enough"
            fix = "write strategy: auto, or min_quality if the models' own quality is meant"
            yield _warn(source, (*path, "quality"), message, fix, "quality_without_effect")


def _unused(config: RouterConfig, source: Source) -> Iterator[Problem]:
    """Examples that are read and never compared with anything."""
    analysis = config.analysis
    asked = {name for rule in config.rules for name in (*rule.when.task, *rule.when.semantic_route)}
    strengths = {name for model in config.models.values() for name in model.strengths or ()}
    for name in analysis.tasks:
        if name not in asked | strengths:
            message = f"neither a rule nor a model's strengths name `{shown(name)}`"
            fix = "write it into `strengths` or `when: {task: …}`, or remove it"
            yield _warn(source, ("analysis", "tasks", name), message, fix, "unused_task", key=True)
    for name in analysis.semantic_routes:
        if name not in asked:
            path: Path = ("analysis", "semantic_routes", name)
            message = f"no rule asks for `{shown(name)}`"
            yield _warn(
                source, path, message, "write a rule with `when: {semantic_route: …}`, or remove it", "unused_route", key=True
            )
    if analysis.encoder != "static" and not analysis.semantic_routes:
        message = f"has no effect: {analysis.encoder} only compares texts with semantic routes, and there are none"
        yield _warn(source, ("analysis", "encoder"), message, "remove it", "encoder_without_effect")
