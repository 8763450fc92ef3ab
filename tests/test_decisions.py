"""Answers that are waited for: every yes counts, of those who say no only the last."""

from __future__ import annotations

import anyio
import pytest

from collab.auth import Grant, Level
from collab.decisions import Decisions
from collab.errors import CollabError, Forbidden, Unavailable
from collab.log import get_logger
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

WRITE = Grant(Level.WRITE)


class Asked:
    """Questions whose answers a test gives when it likes."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        self.heard: list[Grant | CollabError] = []
        self.done = 0
        self.decisions = Decisions(
            lambda call, *args: tasks.start_soon(call, *args) and None,
            get_logger(__name__),
            self.heard.append,
            self.heard.append,
            self.one_less,
        )

    def one_less(self) -> None:
        self.done += 1

    def ask(self) -> tuple[list[Grant | Exception], anyio.Event]:
        given, there = list[Grant | Exception](), anyio.Event()

        async def answer() -> Grant:
            await there.wait()
            if isinstance(given[0], Exception):
                raise given[0]
            return given[0]

        self.decisions.ask()
        self.decisions.wait(answer())
        return given, there


async def answer(question: tuple[list[Grant | Exception], anyio.Event], what: Grant | Exception) -> None:
    question[0].append(what)
    question[1].set()
    await anyio.wait_all_tasks_blocked()


async def test_a_no_does_not_count_once_a_better_token_is_shown():
    async with anyio.create_task_group() as tasks:
        asked = Asked(tasks)
        first, second = asked.ask(), asked.ask()
        assert asked.decisions.waiting == 2
        await answer(first, Forbidden("no"))
        assert asked.heard == [] and asked.decisions.waiting == 1 and asked.done == 1
        await answer(second, Forbidden("no again"))
        assert [str(error) for error in asked.heard] == ["no again"] and asked.decisions.waiting == 0


async def test_a_yes_counts_however_late():
    async with anyio.create_task_group() as tasks:
        asked = Asked(tasks)
        first = asked.ask()
        asked.ask()
        await answer(first, WRITE)
        assert asked.heard == [WRITE]
        asked.decisions.give_up()


async def test_what_goes_wrong_is_no_access(caplog):
    async with anyio.create_task_group() as tasks:
        asked = Asked(tasks)
        await answer(asked.ask(), RuntimeError("broken"))
        assert isinstance(asked.heard[0], Unavailable) and "access could not be decided" in caplog.text


async def test_given_up():
    """Those that are asked already, and those that begin to wait only now."""
    async with anyio.create_task_group() as tasks:
        asked = Asked(tasks)
        asked.ask()
        await anyio.wait_all_tasks_blocked()
        asked.ask()
        asked.decisions.give_up()
        await until(lambda: asked.done == 2, "both are over")
        assert asked.heard == [] and asked.decisions.waiting == 0
