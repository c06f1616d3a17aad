"""How good the encoders are at routes from a few examples, and what they cost."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.encoders import Encoder
from router_extproc.analysis.encoders.minilm import GRAPH_FILE, MinilmEncoder
from router_extproc.analysis.encoders.static import TABLE_FILE, StaticEncoder
from router_extproc.analysis.few_shot import FewShotClassifier
from router_extproc.analysis.semantic_routes import RouteExamples, SemanticRoutes, load_background
from router_extproc.errors import TrainingError
from router_extproc.training.metrics import auc
from router_extproc.training.pipeline import Context
from router_extproc.training.report import Section, Table
from router_extproc.training.route_examples import Intents, banking77, clinc150

# Draws of examples whose figures are averaged, and examples a class.
DRAWS, SHOTS = 5, 5
# For the acceptance of a few routes among much else: routes, utterances a route, draws.
_FEW_ROUTES, _FEW_DRAWS = ((5, 5), (5, 15), (20, 5), (20, 15)), 10
# For the table of times: words a text, repetitions, and a large set of utterances.
_LENGTHS, _REPEATS, _MANY, _MANY_ROUTES = (16, 64, 300, 2_000, 8_000), 30, 10_000, 100
_SENTENCE = (
    "Please compare the two proposals for the new harbour, list what each would cost, and explain which one you would choose."
)

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FewShotFigures:
    """Accuracy over all intents, the same by similarity alone, its deviation over draws, and the area out of scope."""

    accuracy: float
    by_similarity: float
    deviation: float
    out_of_scope: float


def report(context: Context, artefact: Path) -> Section:
    """Few-shot accuracy, out-of-scope detection, acceptance of fitted routes, and routes from a description."""
    static = StaticEncoder.load(artefact)
    encoders: list[Encoder] = [static]
    minilm = _minilm(context, artefact)
    if minilm is not None:
        encoders.append(minilm)
    sets = (clinc150(context), banking77(context))
    figures: dict[str, float] = {"encoder.table_bytes": float((artefact / TABLE_FILE).stat().st_size)}
    rows: list[Sequence[object]] = []
    for encoder in encoders:
        cached = _remembering(encoder)
        for intents in sets:
            found = few_shot(intents, cached, context.random)
            described = by_name(intents, cached)
            rows.append(
                (
                    encoder.name,
                    intents.name,
                    found.accuracy,
                    found.deviation,
                    found.by_similarity,
                    found.out_of_scope,
                    described,
                )
            )
            key = f"encoder.{encoder.name}.{intents.name.lower()}"
            figures[f"{key}.five_shot"] = found.accuracy
            figures[f"{key}.by_name"] = described
            if intents.out_of_scope:
                figures[f"{key}.out_of_scope_auc"] = found.out_of_scope
    accepted = _acceptance(sets[0], static, load_background(artefact, static.name), context.random)
    return Section(
        title="Encoders and semantic routes",
        text=(
            f"The mean of {DRAWS} draws of {SHOTS} examples an intent from the training part, asked about the held-out part, "
            "whose texts the static encoder was distilled without. Out of scope: the area under the curve of the greatest "
            "similarity, texts of an intent against texts of none. By similarity: without the sharpened weights. By name: no "
            "examples, only the intent's name in words."
            + ("" if minilm is not None else " The encoder minilm was not measured: its weights are not installed.")
        ),
        tables=(
            Table(
                f"Intents from {SHOTS} examples each",
                ("encoder", "set", "accuracy", "± over draws", "by similarity", "out-of-scope AUC", "by name"),
                rows,
            ),
            Table(
                "A few routes with fitted thresholds among everything else (CLINC150, static)",
                ("routes", "utterances", "found", "taken for another route", "other intents taken", "out of scope taken"),
                accepted,
                f"Routes drawn at random, {_FEW_DRAWS} draws; the other intents are strangers that lie close.",
            ),
            _latency(encoders),
        ),
        figures=figures,
    )


def few_shot(
    intents: Intents, encode: Callable[[Sequence[str]], Vectors], random: Callable[[str], np.random.Generator]
) -> FewShotFigures:
    """All intents at once, from a few examples each."""
    names = sorted(intents.examples)
    asked = encode([text for name in names for text in intents.asked[name]])
    right = np.repeat(np.arange(len(names)), [len(intents.asked[name]) for name in names])
    strangers = encode(intents.out_of_scope) if intents.out_of_scope else None
    accuracies: list[float] = []
    plain: list[float] = []
    areas: list[float] = []
    for draw in range(DRAWS):
        drawn = intents.draw(SHOTS, random(f"few-shot {intents.name} {draw}"))
        classifier = FewShotClassifier([encode(drawn[name]) for name in names])
        chosen = np.array([int(classifier.preferences(row).argmax()) for row in asked])
        accuracies.append(float((chosen == right).mean()))
        similarities = np.stack([classifier.similarities(row) for row in asked])
        plain.append(float((similarities.argmax(axis=1) == right).mean()))
        if strangers is not None:
            outside = [float(classifier.similarities(row).max()) for row in strangers]
            areas.append(auc([*similarities.max(axis=1), *outside], [1] * len(asked) + [0] * len(strangers)))
    return FewShotFigures(
        float(np.mean(accuracies)),
        float(np.mean(plain)),
        float(np.std(accuracies)),
        float(np.mean(areas)) if areas else float("nan"),
    )


def by_name(intents: Intents, encode: Callable[[Sequence[str]], Vectors]) -> float:
    """The accuracy with each intent's name, in words, for its only example."""
    names = sorted(intents.examples)
    described = encode([name.replace("_", " ").replace("?", "") for name in names])
    hits = [(encode(intents.asked[name]) @ described.T).argmax(axis=1) == place for place, name in enumerate(names)]
    return float(np.concatenate(hits).mean())


def _acceptance(
    intents: Intents, encoder: Encoder, background: Vectors, random: Callable[[str], np.random.Generator]
) -> list[Sequence[object]]:
    asked = {name: encoder.encode(texts) for name, texts in intents.asked.items()}
    strangers = encoder.encode(intents.out_of_scope)
    table: list[Sequence[object]] = []
    for routes, utterances in _FEW_ROUTES:
        shares: list[tuple[float, ...]] = []
        for draw in range(_FEW_DRAWS):
            generator = random(f"acceptance {routes} {utterances} {draw}")
            drawn = intents.draw(utterances, generator)
            chosen = sorted(generator.permutation(sorted(drawn))[:routes].tolist())
            fitted = SemanticRoutes.fit([RouteExamples(name, tuple(drawn[name])) for name in chosen], encoder, background)
            shares.append(_shares(fitted, asked, strangers))
        table.append((routes, utterances, *np.mean(shares, axis=0).tolist()))
    return table


def _shares(routes: SemanticRoutes, asked: Mapping[str, Vectors], strangers: Vectors) -> tuple[float, ...]:
    """Of the routes' own texts, those found and those taken for another's; of others, and out of scope, those taken."""
    own = [(name, routes.match(row).name) for name in routes.names for row in asked[name]]
    others = [routes.match(row).name for name, rows in asked.items() if name not in routes.names for row in rows]
    outside = [routes.match(row).name for row in strangers]
    return (
        float(np.mean([name == matched for name, matched in own])),
        float(np.mean([matched not in {name, None} for name, matched in own])),
        float(np.mean([matched is not None for matched in others])),
        float(np.mean([matched is not None for matched in outside])),
    )


def _latency(encoders: Sequence[Encoder]) -> Table:
    """Milliseconds, tokenizer and all, on this machine as it is; and one match among 10,000 utterances."""
    rows: list[Sequence[object]] = []
    for length in _LENGTHS:
        text = " ".join(islice(cycle(_SENTENCE.split()), length))
        rows.append((f"{length} words", *(_median_milliseconds(encoder.encode, [text]) for encoder in encoders)))
    random = np.random.default_rng(0)
    utterances = random.normal(size=(_MANY, encoders[0].dimensions)).astype(np.float32)
    utterances /= np.linalg.norm(utterances, axis=1, keepdims=True)
    classifier = FewShotClassifier(np.split(utterances, _MANY_ROUTES))
    routes = SemanticRoutes([str(number) for number in range(_MANY_ROUTES)], classifier, classifier.thresholds)
    match = _median_milliseconds(routes.match, utterances[0])
    return Table(
        "Milliseconds a text (p50, one thread)",
        ("text", *(encoder.name for encoder in encoders)),
        rows,
        f"One match among {_MANY:,} utterances of {_MANY_ROUTES} routes: {match:.2f} ms. "
        "Of long texts the encoders read head and tail.",
    )


def _median_milliseconds(call: Callable[[Any], object], argument: object) -> float:
    taken: list[float] = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        call(argument)
        taken.append(time.perf_counter() - started)
    return 1000 * float(np.median(taken))


def _remembering(encoder: Encoder) -> Callable[[Sequence[str]], Vectors]:
    """The encoder, computing each text once."""
    known: dict[str, Vectors] = {}

    def encode(texts: Sequence[str]) -> Vectors:
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        known.update(zip(missing, encoder.encode(missing), strict=True))
        return np.stack([known[text] for text in texts])

    return encode


def _minilm(context: Context, artefact: Path) -> MinilmEncoder | None:
    """The transformer, where its weights are installed."""
    if importlib.util.find_spec("onnx") is None or importlib.util.find_spec("safetensors") is None:
        return None
    from router_extproc.training.bert_graph import build_int8  # noqa: PLC0415 - a library that may not be there
    from router_extproc.training.teacher import model_folder  # noqa: PLC0415 - the same

    graph = context.cache(f"teacher/{GRAPH_FILE}")
    try:
        if not graph.exists():
            build_int8(model_folder() / "model.safetensors", graph)
    except TrainingError:
        return None
    return MinilmEncoder.load(graph, artefact)
