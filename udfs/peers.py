"""Connections between the tasks of one barrier stage, for what would take Spark many shuffles.

Every task is connected to every other, on ports that they choose themselves. Both ends of a
connection prove that they know a key before anything else is read; what is sent is not encrypted.
"""

from __future__ import annotations

import hmac
import secrets
import socket
import struct
import time
from collections import defaultdict
from contextlib import suppress
from threading import Condition, Thread
from types import TracebackType
from typing import Any

from pyspark import BarrierTaskContext

from crowdfm_core.errors import ScoringError
from udfs.block_transport import content_of, sections_of

__all__ = ["LostPeerError", "Peers", "UnreachablePeerError"]

_CONNECT_SECONDS = 30.0  # for all connections together
_STRANGER_SECONDS = 10.0  # for one who does not prove the key
_GRACE_SECONDS = 5.0
_HEADER = struct.Struct("<qqq")  # superstep, node, bytes
_DONE = -1  # as a node: all of a superstep was sent
_NONCE = 32  # bytes
_ROLES = (b"accepts", b"connects")  # what each end signs, so that no answer can be sent back
_LOOPBACK = "127.0.0.1"


class UnreachablePeerError(ScoringError):
    """Raised when tasks of one stage cannot connect to each other."""


class LostPeerError(ScoringError):
    """Raised when another task of the stage ends before it has sent all of a superstep."""


class Peers:
    """The tasks of this barrier stage; `number` is this task's partition, `count` that of all.

    What the others send arrives while this task works, and is handed out superstep by superstep.
    """

    def __init__(self, context: BarrierTaskContext, key: bytes) -> None:
        """Wait for all tasks, and connect. Raises UnreachablePeerError where that fails."""
        hosts = [info.address.rpartition(":")[0] for info in context.getTaskInfos()]
        self.number, self.count = context.partitionId(), len(hosts)
        self._sockets: dict[int, socket.socket] = {}
        self._arrived: dict[int, list[tuple[int, Any]]] = defaultdict(list)  # by superstep
        self._done: dict[int, set[int]] = defaultdict(set)  # peers that have sent all of it
        self._lost: dict[int, str] = {}  # peers that have closed the connection
        self._error: BaseException | None = None  # why nothing more can be received
        self._changed = Condition()
        is_one_host = len(set(hosts)) == 1
        with socket.create_server(
            (_LOOPBACK if is_one_host else "", 0), backlog=self.count
        ) as server:
            drawn = secrets.token_hex(_NONCE)
            told = context.allGather(f"{server.getsockname()[1]} {drawn}")
            # A task of an earlier attempt of the stage that still runs has another key.
            key = hmac.digest(key, "\n".join(told).encode(), "sha256")
            try:
                for peer in range(self.number):
                    host = _LOOPBACK if is_one_host else hosts[peer]
                    self._connect(peer, (host, int(told[peer].split()[0])), key)
                self._accept_others(server, key)
                for peer in self._sockets:
                    name = f"receive from task {peer}"
                    Thread(target=self._receive, args=(peer,), name=name, daemon=True).start()
            except (OSError, EOFError) as error:
                self.close()
                raise UnreachablePeerError(
                    f"task {self.number} of {self.count} on {hosts[self.number]}: expected a "
                    f"connection with every other ({', '.join(sorted(set(hosts)))}), got "
                    f"{type(error).__name__}: {error}; let executors reach each other on all "
                    "ports, or set scoring.block_exchange to shuffle"
                ) from None  # whose text comes first in Spark's errors

    def __enter__(self) -> Peers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all connections; a peer that still waits for something fails."""
        for connection in self._sockets.values():
            _end(connection)

    def send(self, peer: int, superstep: int, node: int, content: Any) -> None:
        """Send a peer something for one of its nodes. Raises LostPeerError where it has ended."""
        sections = sections_of(content)
        self._send(peer, superstep, node, sum(section.nbytes for section in sections), sections)

    def finish(self, superstep: int) -> list[tuple[int, Any]]:
        """Say that all of a superstep was sent, and wait for what the others sent in it: contents,
        each with its node, in any order. Raises LostPeerError where a peer ends before that."""
        for peer in self._sockets:
            self._say_done(peer, superstep)
        return self._collect(superstep)

    def _say_done(self, peer: int, superstep: int) -> None:
        self._send(peer, superstep, _DONE, 0, [])

    def _send(
        self, peer: int, superstep: int, node: int, size: int, sections: list[memoryview]
    ) -> None:
        try:
            self._sockets[peer].sendall(_HEADER.pack(superstep, node, size))
            for section in sections:
                self._sockets[peer].sendall(section)
        except OSError as error:
            self._fail(f"task {peer}: {error}")

    def _collect(self, superstep: int) -> list[tuple[int, Any]]:
        with self._changed:
            self._changed.wait_for(lambda: self._is_done(superstep) or self._missing(superstep))
            missing = self._missing(superstep)
            del self._done[superstep]
            arrived = self._arrived.pop(superstep, [])
        if missing:
            self._fail(missing)
        return arrived

    def _is_done(self, superstep: int) -> bool:
        return len(self._done[superstep]) == self.count - 1

    def _missing(self, superstep: int) -> str | None:
        """A peer that can no longer send all of a superstep; those that are ready leave early."""
        missing = self._lost.keys() - self._done[superstep]
        return next((f"task {peer}: {self._lost[peer]}" for peer in missing), None)

    def _receive(self, peer: int) -> None:
        """Take what a peer sends until it closes the connection, in a thread of its own."""
        connection = self._sockets[peer]
        try:
            while True:
                superstep, node, size = _HEADER.unpack(_read(connection, _HEADER.size))
                content = None if node == _DONE else content_of(_read(connection, size))
                with self._changed:
                    if node == _DONE:
                        self._done[superstep].add(peer)
                        self._changed.notify()
                    else:
                        self._arrived[superstep].append((node, content))
        except BaseException as error:  # such as MemoryError: nobody else would hear of it
            with self._changed:
                self._lost[peer] = str(error)
                if not isinstance(error, (OSError, EOFError)):
                    self._error = error
                self._changed.notify()
            _end(connection)

    def _fail(self, lost: str) -> None:
        if self._error is not None:
            raise self._error
        # A task that failed says why; Spark is to hear of that first.
        time.sleep(_GRACE_SECONDS)
        raise LostPeerError(
            f"blocks in memory: lost the connection to {lost}; that task failed, or its executor "
            "was lost; if it comes back, set scoring.block_exchange to shuffle"
        )

    def _connect(self, peer: int, address: tuple[str, int], key: bytes) -> None:
        connection = socket.create_connection(address, timeout=_CONNECT_SECONDS)
        try:
            if not _prove(connection, key, role=1):
                raise ConnectionError(f"{address[0]}:{address[1]} is not task {peer}")
            connection.sendall(_HEADER.pack(0, self.number, 0))
        except (OSError, EOFError):
            _end(connection)
            raise
        self._add(peer, connection)

    def _accept_others(self, server: socket.socket, key: bytes) -> None:
        deadline = time.monotonic() + _CONNECT_SECONDS
        server.settimeout(0.1)
        while len(self._sockets) < self.count - 1:
            try:
                connection, _ = server.accept()
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise
                continue
            # Beside the others: somebody who says nothing keeps nobody waiting.
            Thread(target=self._welcome, args=(connection, key), daemon=True).start()

    def _welcome(self, connection: socket.socket, key: bytes) -> None:
        connection.settimeout(_STRANGER_SECONDS)
        with suppress(OSError, EOFError):
            if _prove(connection, key, role=0):
                _, peer, _ = _HEADER.unpack(_read(connection, _HEADER.size))
                self._add(peer, connection)
                return
        _end(connection)  # somebody else, such as one who scans ports

    def _add(self, peer: int, connection: socket.socket) -> None:
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._sockets[peer] = connection


def _prove(connection: socket.socket, key: bytes, *, role: int) -> bool:
    """Prove the key to the other end by signing what it drew, and say whether it did so too."""
    drawn = secrets.token_bytes(_NONCE)
    connection.sendall(drawn)
    asked = bytes(_read(connection, _NONCE))
    connection.sendall(hmac.digest(key, _ROLES[role] + asked, "sha256"))
    expected = hmac.digest(key, _ROLES[1 - role] + drawn, "sha256")
    return hmac.compare_digest(bytes(_read(connection, len(expected))), expected)


def _read(connection: socket.socket, size: int) -> bytearray:
    """Read so many bytes; EOFError where the other end has closed before."""
    body = bytearray(size)
    rest = memoryview(body)
    while rest.nbytes:
        number = connection.recv_into(rest)
        if not number:
            raise EOFError("the connection was closed")
        rest = rest[number:]
    return body


def _end(connection: socket.socket) -> None:
    # Closed alone, it would stay open for as long as a thread waits for what comes.
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
