"""What a configuration adds to the classifier: keywords, its own kinds of work, semantic routes.

Examples are encoded and fitted here, once: when a worker takes over a configuration, not while a request waits. A thousand
take a tenth of a second, ten thousand a second or two; a reload that leaves them as they are takes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from router_extproc.analysis.classifier import Classifier
from router_extproc.analysis.custom_tasks import CustomTasks
from router_extproc.analysis.heads import CustomTaskReader, KeywordReader, SemanticRouteReader
from router_extproc.analysis.keywords import Keywords
from router_extproc.analysis.semantic_routes import RouteExamples, SemanticRoutes, load_background

# The configurations of one process that are in use at once: the present one, and the next while it is taken over.
_KEPT = 4


@dataclass(frozen=True, slots=True)
class Configured:
    """The readers that a configuration made; None where it asks for nothing.

    ``route_encoder`` turns a text into the vector that semantic routes compare; None takes that of the classifier.
    """

    keywords: KeywordReader | None = None
    custom_tasks: CustomTaskReader | None = None
    semantic_routes: SemanticRouteReader | None = None
    route_encoder: Any = None


NOTHING_CONFIGURED = Configured()


def configure(
    classifier: Classifier,
    *,
    phrases: Collection[str] = (),
    tasks: Mapping[str, Sequence[str]] | None = None,
    routes: Sequence[RouteExamples] = (),
    encoder: str = "static",
) -> Configured:
    """Compiles phrases, and fits tasks and routes to their examples; without a classifier there are none of these.

    Raises:
        OSError: the files of the encoder are not there.
    """
    keywords = Keywords.compile(frozenset(phrases)) if phrases else None
    custom = tuple((name, tuple(examples)) for name, examples in (tasks or {}).items())
    fitted = _fit(classifier, custom, tuple(routes), encoder)
    return Configured(keywords, fitted.tasks, fitted.routes, fitted.encoder)


class _Fitted(NamedTuple):
    tasks: CustomTaskReader | None = None
    routes: SemanticRouteReader | None = None
    encoder: Any = None


@lru_cache(maxsize=_KEPT)
def _fit(
    classifier: Classifier, tasks: tuple[tuple[str, tuple[str, ...]], ...], routes: tuple[RouteExamples, ...], encoder: str
) -> _Fitted:
    if classifier.encoder is None:
        return _Fitted()
    shared = classifier.encoder
    custom = CustomTasks.fit(dict(tasks), shared, load_background(classifier.folder, shared.name)) if tasks else None
    if not routes:
        return _Fitted(custom)
    chosen = classifier.encoder_named(encoder)
    fitted = SemanticRoutes.fit(routes, chosen, load_background(classifier.folder, encoder))
    return _Fitted(custom, fitted, None if chosen is shared else chosen)
