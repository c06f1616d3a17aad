"""The waiting room: bounded, in turn, interactive work first."""

from __future__ import annotations

import asyncio

import pytest

from router_extproc.caller import BATCH, INTERACTIVE
from router_extproc.extproc.waiting import NoRoomError, WaitingRoom


class Scene:
    """People who wait a moment in one lane of a room for ``most``; ``served`` has their names in the order of their turns."""

    def __init__(self, most: int = 10, seconds: float = 0.02) -> None:
        self.room = WaitingRoom()
        self.most, self.seconds = most, seconds
        self.served: list[str] = []
        self.in_turn = 0

    async def come(self, name: str, priority: str = INTERACTIVE, lane: str = "rpm") -> None:
        try:
            async with self.room.turn(lane, priority, self.seconds, self.most):
                self.in_turn += 1
                assert self.in_turn == 1, "one at a time"
                await asyncio.sleep(0)
                self.served.append(name)
                self.in_turn -= 1
        except NoRoomError:
            self.served.append(f"{name} sent away")

    async def play(self, *people: tuple[str, str]) -> list[str]:
        async with asyncio.timeout(5):
            await asyncio.gather(*(self.come(name, priority) for name, priority in people))
        assert len(self.room) == 0
        return self.served


async def test_turns_are_in_the_order_of_arrival() -> None:
    """Who came first goes first, one at a time, although all may go at the same moment."""
    names = [str(number) for number in range(6)]
    assert await Scene().play(*((name, INTERACTIVE) for name in names)) == names


async def test_interactive_work_goes_before_batch_that_came_earlier() -> None:
    """Batch work waits until nobody else does."""
    served = await Scene().play(("b1", BATCH), ("b2", BATCH), ("i1", INTERACTIVE), ("i2", INTERACTIVE))
    assert served == ["i1", "i2", "b1", "b2"]


async def test_a_full_room_turns_new_ones_away() -> None:
    """At once: they do not wait to be told."""
    served = await Scene(most=2).play(("1", INTERACTIVE), ("2", INTERACTIVE), ("3", INTERACTIVE))
    assert served == ["3 sent away", "1", "2"]


async def test_batch_work_makes_room_for_interactive_work() -> None:
    """The last batch that came has to leave; batch for batch nobody has."""
    served = await Scene(most=2).play(("b1", BATCH), ("b2", BATCH), ("b3", BATCH), ("i", INTERACTIVE))
    assert sorted(served) == ["b1", "b2 sent away", "b3 sent away", "i"]
    assert served.index("i") < served.index("b1")


async def test_a_room_for_nobody_takes_nobody() -> None:
    """Nor does it fall over."""
    assert await Scene(most=0).play(("1", INTERACTIVE)) == ["1 sent away"]


async def test_who_gives_up_holds_nobody_up() -> None:
    """A client that leaves while it waits, or amid its turn, leaves the turn to the next."""
    scene = Scene()
    first, second, third = (asyncio.create_task(scene.come(name)) for name in ("1", "2", "3"))
    await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(second, third)
    assert scene.served == ["2", "3"]
    assert len(scene.room) == 0


async def test_a_cancelled_turn_is_given_on() -> None:
    """Whatever happens in a turn, the next one comes."""
    scene = Scene()

    async def fail() -> None:
        async with scene.room.turn("rpm", INTERACTIVE, 0, 10):
            raise RuntimeError("amid the turn")

    with pytest.raises(RuntimeError):
        await fail()
    assert await scene.play(("next", INTERACTIVE)) == ["next"]


async def test_lanes_do_not_wait_for_each_other() -> None:
    """A long turn in one lane leaves the others alone."""
    scene = Scene(seconds=0)
    async with asyncio.timeout(5):
        async with scene.room.turn("slow", INTERACTIVE, 0, 10):
            await scene.come("other", lane="quick")
    assert scene.served == ["other"]


async def test_batch_work_learns_what_others_wait_for() -> None:
    """So that it does not take what becomes free from under them."""
    room = WaitingRoom()
    assert room.taken_before(BATCH, ["rpm"]) is None
    waiting = asyncio.create_task(_wait(room, INTERACTIVE))
    await asyncio.sleep(0)
    assert room.taken_before(BATCH, ["tpm", "rpm"]) == "rpm"
    assert room.taken_before(BATCH, ["tpm"]) is None
    assert room.taken_before(INTERACTIVE, ["rpm"]) is None
    waiting.cancel()


async def test_batch_alone_is_no_reason_to_stand_back() -> None:
    """Batch work is no more urgent than batch work."""
    room = WaitingRoom()
    waiting = asyncio.create_task(_wait(room, BATCH))
    await asyncio.sleep(0)
    assert room.taken_before(BATCH, ["rpm"]) is None
    waiting.cancel()


async def _wait(room: WaitingRoom, priority: str) -> None:
    async with room.turn("rpm", priority, 60, 10):
        pass


async def test_whoever_is_out_of_patience_is_sent_away() -> None:
    """A turn that does not come in time is none; the others keep theirs."""
    room = WaitingRoom()
    async with room.turn("rpm", INTERACTIVE, 0, 10):
        with pytest.raises(NoRoomError):
            async with room.turn("rpm", INTERACTIVE, 0, 10, patience=0.01):
                raise AssertionError("two turns at once")
    assert len(room) == 0


async def test_one_interactive_request_looks_more_often_than_all_batch_work_of_another_process() -> None:
    """Each process has a room of its own: what becomes free goes to whoever looks first."""
    looks = {INTERACTIVE: 0, BATCH: 0}
    enough = asyncio.Event()
    one, other = WaitingRoom(), WaitingRoom()

    async def look_on(room: WaitingRoom, priority: str) -> None:
        while True:
            async with room.turn("rpm", priority, 0.02, 100):
                looks[priority] += 1
                room.rest("rpm")
                if looks[INTERACTIVE] >= 20:
                    enough.set()

    waiting = [asyncio.create_task(look_on(other, BATCH)) for _ in range(30)]
    waiting.append(asyncio.create_task(look_on(one, INTERACTIVE)))
    async with asyncio.timeout(20):
        await enough.wait()
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert looks[BATCH] < looks[INTERACTIVE]


async def test_a_lane_that_rests_goes_on_by_itself() -> None:
    """Nobody is forgotten in it, and others do not rest with it."""
    scene = Scene(seconds=0)
    async with asyncio.timeout(5):
        async with scene.room.turn("rpm", INTERACTIVE, 0, 10):
            scene.room.rest("rpm")
        late = asyncio.create_task(scene.come("late"))
        await scene.come("other", lane="tpm")
        await late
    assert scene.served == ["other", "late"]
