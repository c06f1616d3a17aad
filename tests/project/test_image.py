"""What a linter cannot say about the Dockerfile: it takes nothing unlocked, sends nothing unneeded, and drops root."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def instructions() -> list[str]:
    """The Dockerfile's instructions, one string each: comments dropped, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    return [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def final_instructions() -> list[str]:
    """What the default image is made of: the last stage and the stages it stands on."""
    stages: dict[str, list[str]] = {}
    parents: dict[str, str] = {}
    stage = ""
    for line in instructions():
        if match := re.match(r"FROM (\S+) AS (\S+)", line):
            parent, stage = match.groups()
            stages[stage], parents[stage] = [], parent
        elif stage:
            stages[stage].append(line)
    chain: list[str] = []
    while stage in stages:
        chain = stages[stage] + chain
        stage = parents[stage]
    return chain


def test_nothing_is_installed_without_a_hash() -> None:
    """Each pip call installs from a lock with hashes, from the wheel just built, or builds without fetching a back end."""
    calls = [
        call
        for line in instructions()
        if line.startswith("RUN ")
        for call in line.split("&&")
        if re.search(r"pip .*(install|wheel)", call)
    ]
    assert calls
    for call in calls:
        is_locked = "--require-hashes -r requirements/" in call
        is_ours = "--no-deps" in call and ("--no-index" in call or "--no-build-isolation" in call)
        assert is_locked or is_ours, call
        assert "--no-cache-dir" in call, call


def test_what_is_copied_is_sent() -> None:
    """Each path that a COPY names exists, and .dockerignore lets it through; by default nothing is sent."""
    ignore = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert ignore[0] == "*"
    admitted = {line.removeprefix("!").split("/")[0] for line in ignore if line.startswith("!")}
    copied = [word for line in instructions() if re.match(r"COPY (?!--from)", line) for word in line.split()[1:-1]]
    assert copied
    for path in copied:
        assert (ROOT / path).exists(), path
        assert path.rstrip("/") in admitted, path


def test_the_image_drops_root() -> None:
    """The default image runs as a user given by number, as Kubernetes' runAsNonRoot demands, and starts the service."""
    users = [line.split()[1] for line in final_instructions() if line.startswith("USER ")]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])
    assert final_instructions()[-1].startswith('CMD ["serve"')
    assert 'ENTRYPOINT ["router-extproc"]' in final_instructions()
