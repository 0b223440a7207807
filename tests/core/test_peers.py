"""Tasks that are connected to each other: what arrives when, who is let in, and who is missed."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier, Event
from threading import enumerate as enumerate_threads
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from udfs import peers
from udfs.peers import LostPeerError, Peers, UnreachablePeerError

KEY = b"k" * 32


class Stage:
    """Tasks of a barrier stage, as threads; on_ports is called before any of them connects."""

    def __init__(self, count: int, on_ports: Callable[[list[int]], None] = lambda _: None) -> None:
        self.count = count
        self._messages: dict[int, str] = {}
        self._all_said = Barrier(count, lambda: on_ports([int(m.split()[0]) for m in self._said()]))

    def _said(self) -> list[str]:
        return [self._messages[number] for number in range(self.count)]

    def context(self, number: int) -> Any:
        def all_gather(message: str) -> list[str]:
            self._messages[number] = message
            self._all_said.wait(10)
            return self._said()

        infos = [SimpleNamespace(address="127.0.0.1:1")] * self.count
        return SimpleNamespace(
            partitionId=lambda: number, getTaskInfos=lambda: infos, allGather=all_gather
        )

    def run(self, task: Callable[[Peers], Any], keys: dict[int, bytes] | None = None) -> Any:
        """What all tasks return, or raise, as futures."""

        def connect(number: int) -> Any:
            with Peers(self.context(number), (keys or {}).get(number, KEY)) as connected:
                return task(connected)

        with ThreadPoolExecutor(self.count) as pool:
            futures: list[Future[Any]] = [pool.submit(connect, n) for n in range(self.count)]
        return futures


def test_everything_arrives_in_the_superstep_it_was_sent_in() -> None:
    """Whoever is ready goes on to the next one, and its messages are not for this one."""
    steps = 20

    def task(own: Peers) -> list[list[tuple[int, int, int]]]:
        draw = np.random.default_rng(own.number)
        found = []
        for step in range(steps):
            for peer in range(own.count):
                if peer != own.number:
                    size = int(draw.choice([0, 1, 100_000]))
                    own.send(peer, step, 10 * own.number + peer, (step, np.full(size, peer)))
            arrived = own.finish(step)
            assert all((array == own.number).all() for _, (_, array) in arrived)
            found.append(sorted((node, sent, len(array)) for node, (sent, array) in arrived))
        return found

    for number, future in enumerate(Stage(3).run(task)):
        for step, arrived in enumerate(future.result()):
            others = [10 * peer + number for peer in range(3) if peer != number]
            assert [(node, sent) for node, sent, _ in arrived] == [(n, step) for n in others]


def test_no_thread_is_left_behind() -> None:
    """Python workers are reused."""
    for future in Stage(3).run(lambda own: own.finish(1)):
        assert future.result() == []
    receiving = [thread for thread in enumerate_threads() if "receive from" in thread.name]
    for thread in receiving:
        thread.join(5)
    assert not [thread.name for thread in receiving if thread.is_alive()]


def test_one_task_has_no_peers() -> None:
    (alone,) = Stage(1).run(lambda own: (own.number, own.count, own.finish(1)))
    assert alone.result() == (0, 1, [])


def test_strangers_are_not_let_in() -> None:
    """Neither one who talks of something else, nor one who is silent, nor one who hangs up keeps a
    peer out or waiting."""
    strangers = []

    def disturb(ports: list[int]) -> None:
        for port in ports:
            for said in (b"GET / HTTP/1.1\r\n\r\n" * 10, b"", b""):
                stranger = socket.create_connection(("127.0.0.1", port))
                stranger.sendall(said)
                strangers.append(stranger)
            strangers[-1].close()

    began = time.monotonic()
    for future in Stage(3, disturb).run(lambda own: own.finish(1)):
        assert future.result() == []
    assert time.monotonic() - began < peers._STRANGER_SECONDS / 2
    for stranger in strangers:
        stranger.close()


def test_another_key_is_another_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_CONNECT_SECONDS", 1.0)
    monkeypatch.setattr(peers, "_GRACE_SECONDS", 0.0)
    futures = Stage(2).run(lambda own: own.finish(1), keys={1: b"o" * 32})
    for future in futures:
        error = future.exception()
        assert isinstance(error, UnreachablePeerError)
        assert "set scoring.block_exchange to shuffle" in str(error)


def test_a_peer_that_ends_early_fails_those_who_wait_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peers, "_GRACE_SECONDS", 0.0)

    def task(own: Peers) -> None:
        own.finish(1)
        if own.number != 1:
            own.finish(2)

    futures = Stage(3).run(task)
    assert futures[1].exception() is None
    for number in (0, 2):
        error = futures[number].exception()
        assert isinstance(error, LostPeerError)
        assert "lost the connection to task" in str(error)


def test_a_peer_that_is_done_may_leave() -> None:
    """0 leaves as soon as it has heard from all; 1 has still to hear from 2."""
    has_left = Event()

    def task(own: Peers) -> list[tuple[int, Any]]:
        if own.number == 2:
            own._say_done(0, 1)
            assert has_left.wait(10)
            time.sleep(0.2)  # until 1 has seen it
            own.send(1, 1, 5, "late")
            own._say_done(1, 1)
            return own._collect(1)
        found = own.finish(1)
        if own.number == 0:
            own.close()
            has_left.set()
        return found

    futures = Stage(3).run(task)
    assert [future.result() for future in futures] == [[], [(5, "late")], []]


def test_what_cannot_be_read_fails_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that reads says why, and nobody waits."""
    monkeypatch.setattr(peers, "_GRACE_SECONDS", 0.0)

    def task(own: Peers) -> None:
        if own.number == 0:
            own._send(1, 1, 5, 64, [memoryview(bytes(64))])
        own.finish(1)
        own.finish(2)

    sender, reader = (future.exception() for future in Stage(2).run(task))
    assert isinstance(sender, LostPeerError)
    assert reader is not None
    assert not isinstance(reader, LostPeerError)
