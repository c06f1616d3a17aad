"""Changes are noticed however files are changed, once each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from router_extproc.supervisor.watch import changes

POLL_SECONDS = 0.01


class Watching:
    """Counts what ``changes`` yields."""

    def __init__(self, paths: list[Path]) -> None:
        self.count = 0
        self._paths = paths

    async def run(self) -> None:
        async for _ in changes(lambda: tuple(self._paths), POLL_SECONDS):
            self.count += 1

    async def counts(self, number: int) -> None:
        """The count comes to ``number`` and stays there."""
        async with asyncio.timeout(5):
            while self.count < number:  # noqa: ASYNC110 - what is waited for is counted elsewhere
                await asyncio.sleep(POLL_SECONDS)
        await asyncio.sleep(10 * POLL_SECONDS)
        assert self.count == number


@contextlib.asynccontextmanager
async def watching(*paths: Path) -> AsyncIterator[Watching]:
    found = Watching(list(paths))
    task = asyncio.create_task(found.run())
    await asyncio.sleep(5 * POLL_SECONDS)
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_writing_in_place_and_renaming_are_changes(tmp_path: Path) -> None:
    """Each is told once; a file that stays as it is is never told."""
    file = tmp_path / "router.yaml"
    file.write_text("a")
    async with watching(file) as found:
        await found.counts(0)
        file.write_text("bb")
        await found.counts(1)
        (tmp_path / "new").write_text("cc")
        (tmp_path / "new").replace(file)
        await found.counts(2)


async def test_a_swapped_link_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes updates a ConfigMap: the file's own path never changes, a folder's link does."""
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "router.yaml").write_text(name)
    (tmp_path / "..data").symlink_to("1")
    file = tmp_path / "router.yaml"
    file.symlink_to("..data/router.yaml")
    async with watching(file) as found:
        (tmp_path / "..new").symlink_to("2")
        (tmp_path / "..new").replace(tmp_path / "..data")
        await found.counts(1)


async def test_a_file_that_is_still_being_written_is_waited_for(tmp_path: Path) -> None:
    """Many writes in a row are one change."""
    file = tmp_path / "router.yaml"
    file.write_text("")
    async with watching(file) as found:
        for size in range(20):
            file.write_text("x" * size)
            await asyncio.sleep(POLL_SECONDS / 2)
        await found.counts(1)


@pytest.mark.parametrize("there_at_first", [True, False])
async def test_files_may_come_and_go(tmp_path: Path, there_at_first: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """A file that vanishes is a change, and so is one that appears."""
    file = tmp_path / "key"
    if there_at_first:
        file.write_text("key")
    async with watching(file) as found:
        if there_at_first:
            file.unlink()
        else:
            file.write_text("key")
        await found.counts(1)


async def test_a_new_file_to_watch_counts_as_changed(tmp_path: Path) -> None:
    """It may have been read before it was watched, and have changed in between."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("1")
    second.write_text("1")
    async with watching(first) as found:
        found._paths.append(second)
        await found.counts(1)
        second.write_text("22")
        await found.counts(2)
        found._paths.remove(second)
        await found.counts(2)
