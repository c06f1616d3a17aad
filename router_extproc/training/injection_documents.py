"""What tool results and retrieved documents look like, with and without a request inside.

In a document even an ordinary request is out of place: BIPIA's insertions are nothing else. So requests from the other data
sets are put into documents as well, and a request alone teaches what to look for in a window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from router_extproc.training.injection_examples import INDIRECT, InjectionExample, insert, read_sections
from router_extproc.training.pipeline import Context

DOCUMENT_SOURCE, REQUEST_SOURCE = "documents", "requests in documents"
_DOCUMENTS, _REQUESTS, _PER_KIND = 900, 700, 60
_LONGEST_REQUEST, _SHORTEST_DOCUMENT = 300, 200
_ASKING = ("selfinstruct_seed", "selfinstruct_user", "arena_hard")


def document_examples(context: Context, examples: Sequence[InjectionExample]) -> list[InjectionExample]:
    """Documents as they come, and attacked ones; an insertion is held out wherever it stands."""
    random = context.random("injection documents")
    clean = {example.group: without_question(example.text) for example in examples if example.source == "bipia_clean"}
    imperative = list(_of_kinds(context, random))
    documents = [*clean.values(), *_joined(context, random)]
    requests = [example.text for example in examples if example.source in _ASKING and len(example.text) <= _LONGEST_REQUEST]
    return [
        *(_harmless(document) for document in documents),
        *(_harmless(document, kind) for kind, document in imperative),
        *_from_bipia(examples, clean),
        *_attacks(examples),
        *_with_requests(requests, documents, random),
    ]


def without_question(text: str) -> str:
    """A BIPIA prompt without its last paragraph, which is the user's."""
    document, _, _ = text.rstrip().rpartition("\n\n")
    return document.strip() or text


def _harmless(text: str, kind: str = "") -> InjectionExample:
    # A kind of document is held out as a whole: what is found must not hang on its lines.
    group = kind or text[-120:]
    return InjectionExample(text, attack=False, source=DOCUMENT_SOURCE, family=kind or DOCUMENT_SOURCE, group=group)


def _of_kinds(context: Context, random: np.random.Generator) -> Iterable[tuple[str, str]]:
    """Recipes, manuals, mails and the like, which hold requests of their own."""
    for kind, lines in read_sections(context.own("injection/documents.txt")).items():
        for _ in range(_PER_KIND):
            chosen = random.permutation(len(lines))[: int(random.integers(1, len(lines)))]
            yield kind, ("\n", " ")[int(random.integers(2))].join(lines[place] for place in chosen)


def _joined(context: Context, random: np.random.Generator) -> Iterable[str]:
    sentences = context.texts("sentences")
    for _ in range(_DOCUMENTS):
        between = ("\n", " ", "\n\n", " | ")[int(random.integers(4))]
        chosen = random.choice(len(sentences), int(random.integers(2, 25)), replace=False)
        yield between.join(sentences[place] for place in chosen)


def _from_bipia(examples: Sequence[InjectionExample], clean: dict[str, str]) -> Iterable[InjectionExample]:
    for example in examples:
        if example.family != INDIRECT or example.group not in clean:
            continue
        document = without_question(example.text)
        lines = set(clean[example.group].splitlines())
        inserted = "\n".join(line for line in document.splitlines() if line.strip() and line not in lines)
        if inserted:
            yield InjectionExample(document, attack=True, source=example.source, family=inserted, group=inserted, weight=0.5)
            yield InjectionExample(inserted, attack=True, source=example.source, family=inserted, group=inserted, weight=0.5)


def _attacks(examples: Sequence[InjectionExample]) -> Iterable[InjectionExample]:
    """What attacks from a user attacks from a document too; here our own are held out by family like all others."""
    return (replace(example, own=False) for example in examples if example.attack and example.family != INDIRECT)


def _with_requests(
    requests: Sequence[str], documents: Sequence[str], random: np.random.Generator
) -> Iterable[InjectionExample]:
    for _ in range(_REQUESTS):
        request = requests[int(random.integers(len(requests)))]
        document = documents[int(random.integers(len(documents)))]
        text = insert(request, document, random)
        yield InjectionExample(text, attack=True, source=REQUEST_SOURCE, family=request, group=request)
        yield InjectionExample(request, attack=True, source=REQUEST_SOURCE, family=request, group=request, weight=0.5)
