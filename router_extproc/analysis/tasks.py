"""The kind of work a request asks for: a probability for each of thirteen, several of which may hold at once.

Structure comes first: after a tool's answer the next step of an agent is due, whatever the words are; offered tools and
a wanted response format make their kinds likelier. Then a linear head over how the task is worded decides, calibrated on
held-out requests; below ``UNSURE`` the best name is a guess and is marked so.

Beside the kinds stands one more column over the same wording: whether the request is to be thought through, whatever kind
it is and however plain its words are. It was trained apart (``training/thought``) and is read in the same product.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.conversation import TOOL_CALL, TOOL_RESULT, Conversation
from router_extproc.analysis.encoding import TextEncoding
from router_extproc.analysis.linear_head import LinearHead, read_arrays
from router_extproc.analysis.wording import read_wording

FILE, THOUGHT_FILE = "tasks.npz", "thought.npz"
THOUGHT = "thought"
TASKS = (
    "code",
    "math",
    "reasoning",
    "structured_extraction",
    "classification",
    "summarization",
    "translation",
    "qa",
    "rag_qa",
    "creative_writing",
    "chat",
    "planning",
    "tool_step",
)
# Below this probability of the likeliest kind the request is of no kind that one should act on: on real prompts that were
# held out, such names were right about every other time (docs/classifier.md).
UNSURE = 0.4
# What structure adds, in log-odds: offered tools are often ignored, a response format is nearly always meant.
_OFFERED_TOOLS, _WANTED_FORMAT = 1.0, 2.5
# The probability of ``tool_step`` in the middle of a tool loop, and by how much it is the likeliest.
_IN_TOOL_LOOP, _STEP_FIRST = 0.97, 0.01


@dataclass(frozen=True, slots=True)
class TaskScore:
    """The likeliest kind of work and the calibrated probability of each; the sum may be above or below 1.

    ``unsure`` when no kind is likely enough to act on; then ``name`` is a guess. ``thought`` is the probability that the
    request is to be thought through, by its wording alone; 0 where the artefact cannot tell.
    """

    name: str
    scores: Mapping[str, float]
    unsure: bool
    thought: float = 0.0


class TaskHead:
    """The trained head."""

    def __init__(self, head: LinearHead, slope: NDArray[np.float32], offset: NDArray[np.float32]) -> None:
        """A head with its calibration: probability = sigmoid(slope * logit + offset), one of each a class.

        The classes are those of ``TASKS``, and after them ``THOUGHT`` or nothing.
        """
        self._head, self._slope, self._offset = head, slope, offset
        self._places = {name: place for place, name in enumerate(head.classes)}

    @classmethod
    def load(cls, folder: Path) -> TaskHead:
        """The head whose file lies in a folder.

        Raises:
            OSError: the file cannot be read.
            ValueError: it knows other kinds of work than this version, or the files do not fit together.
        """
        arrays = read_arrays(folder / FILE)
        head = LinearHead.from_arrays(arrays)
        if head.classes != TASKS:
            raise ValueError(f"{folder / FILE} knows {', '.join(head.classes)}; expected {', '.join(TASKS)}")
        slope, offset = arrays["slope"], arrays["offset"]
        if (folder / THOUGHT_FILE).exists():
            more = read_arrays(folder / THOUGHT_FILE)
            head = head.beside(LinearHead.from_arrays(more))
            slope, offset = np.append(slope, more["slope"]), np.append(offset, more["offset"])
        return cls(head, slope, offset)

    def score(
        self,
        encoding: TextEncoding,
        surface: Any,  # noqa: ARG002 - what every reader of texts is given
        conversation: Conversation,
        *,
        offers_tools: bool = False,
        wants_format: bool = False,
    ) -> TaskScore:
        """The kind of work of the task in progress.

        Args:
            encoding: of the task's text.
            surface: not used.
            conversation: the step that is due, and whether documents stand beside the task.
            offers_tools: whether the model may call tools.
            wants_format: whether a JSON schema or JSON mode is asked for.
        """
        logits, thought = self._read(encoding, has_documents=conversation.has_context)
        if offers_tools:
            logits[self._places["tool_step"]] += _OFFERED_TOOLS
        if wants_format:
            logits[self._places["structured_extraction"]] += _WANTED_FORMAT
        probabilities = 1 / (1 + np.exp(-logits))
        if conversation.step in {TOOL_RESULT, TOOL_CALL}:
            # What the whole task is stays visible, but what is due now is a step of it.
            probabilities = np.minimum(probabilities, _IN_TOOL_LOOP - _STEP_FIRST)
            probabilities[self._places["tool_step"]] = _IN_TOOL_LOOP
        best = int(probabilities.argmax())
        scores = dict(zip(TASKS, probabilities.tolist(), strict=True))
        return TaskScore(TASKS[best], scores, unsure=scores[TASKS[best]] < UNSURE, thought=thought)

    def logits(self, encoding: TextEncoding, *, has_documents: bool) -> NDArray[np.float32]:
        """The calibrated log-odds of each kind of work, before structure is asked, float32 [13]."""
        return self._read(encoding, has_documents=has_documents)[0]

    def _read(self, encoding: TextEncoding, *, has_documents: bool) -> tuple[NDArray[np.float32], float]:
        """The log-odds of each kind of work, and the probability that the request is to be thought through."""
        raw = self._head.logits(read_wording(encoding, has_documents=has_documents), encoding.ngrams)
        calibrated: NDArray[np.float32] = raw * self._slope + self._offset
        kinds, others = calibrated[: len(TASKS)], calibrated[len(TASKS) :]
        return kinds, float(1 / (1 + np.exp(-others[0]))) if len(others) else 0.0
