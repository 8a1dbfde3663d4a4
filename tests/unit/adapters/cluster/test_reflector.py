"""The reflector against an API server that breaks in every way it may: the copy is right in the end, and nothing is asked too often."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from intact.adapters.cluster.api import Expired, Status
from intact.adapters.cluster.reflector import LONGEST_PAUSE_S, Reflector
from intact.model.errors import TemporaryError


def event(kind: str, name: str, version: int) -> str:
    return json.dumps({"type": kind, "object": {"metadata": {"name": name, "resourceVersion": str(version)}}})


GONE = json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}})
BROKEN = TemporaryError("connection reset")


class Lines:
    def __init__(self, script: list[str | Exception]) -> None:
        self._script = script

    def __iter__(self) -> Iterator[str]:
        for one in self._script:
            if isinstance(one, Exception):
                raise one
            yield one

    def stop(self) -> None:
        pass


class Server:
    """Lists and watches from a script; when the script ends, the reflector is stopped."""

    name = "things"

    def __init__(self, lists: list[Any], watches: list[Any]) -> None:
        self.lists, self.watches = lists, watches
        self.asked: list[str] = []
        self.reflector: Reflector[Any] | None = None

    def list_all(self) -> tuple[str, list[Any]]:
        self.asked.append("list")
        answer = self.lists.pop(0)
        if isinstance(answer, Exception):
            raise answer
        version, names = answer
        return version, [{"metadata": {"name": n}} for n in names]

    @contextmanager
    def watch(self, resource_version: str, timeout_s: int) -> Iterator[Lines]:
        self.asked.append(f"watch {resource_version}")
        if not self.watches:
            assert self.reflector is not None
            self.reflector.stop()
            yield Lines([])
            return
        answer = self.watches.pop(0)
        if isinstance(answer, Exception):
            raise answer
        yield Lines(answer)

    def decode(self, raw: bytes) -> Any:
        return json.loads(raw)


class Copy:
    def __init__(self) -> None:
        self.names: set[str] = set()

    def replace_all(self, objects: Iterable[Any]) -> None:
        self.names = {o["metadata"]["name"] for o in objects}

    def upsert(self, one: Any) -> None:
        self.names.add(one["metadata"]["name"])

    def remove(self, one: Any) -> None:
        self.names.discard(one["metadata"]["name"])


def run(server: Server) -> tuple[Copy, list[float]]:
    copy = Copy()
    pauses: list[float] = []
    server.reflector = Reflector(server, copy, wait=pauses.append)
    server.reflector.run()
    return copy, pauses


def test_changes_after_the_list_are_followed() -> None:
    server = Server([("5", ["a"])], [[event("ADDED", "b", 6), event("DELETED", "a", 7), event("MODIFIED", "c", 8)]])
    copy, pauses = run(server)
    assert copy.names == {"b", "c"}
    assert server.asked == ["list", "watch 5", "watch 8"]
    assert pauses == []


def test_a_bookmark_moves_the_version_and_is_no_object() -> None:
    server = Server([("5", ["a"])], [[event("BOOKMARK", "", 90)]])
    copy, _ = run(server)
    assert copy.names == {"a"}
    assert server.asked == ["list", "watch 5", "watch 90"]


def test_a_broken_watch_goes_on_where_it_broke() -> None:
    server = Server([("5", [])], [[event("ADDED", "b", 6), BROKEN], BROKEN, [event("ADDED", "c", 7)]])
    copy, pauses = run(server)
    assert copy.names == {"b", "c"}
    assert server.asked == ["list", "watch 5", "watch 6", "watch 6", "watch 7"]
    assert len(pauses) == 2


def test_a_version_too_old_is_listed_again_and_what_went_meanwhile_is_gone() -> None:
    for too_old in ([GONE], Expired(Status(message="too old", reason="Expired", code=410))):
        server = Server([("5", ["a", "b"]), ("50", ["b", "c"])], [too_old])
        copy, _ = run(server)
        assert copy.names == {"b", "c"}
        assert server.asked == ["list", "watch 5", "list", "watch 50"]


def test_pauses_grow_while_the_server_is_away_and_stay_bounded() -> None:
    server = Server([*[BROKEN] * 30, ("5", ["a"])], [])
    copy, pauses = run(server)
    assert copy.names == {"a"}
    assert len(pauses) == 30
    assert max(pauses[:2]) < 1.0
    assert all(LONGEST_PAUSE_S / 2 <= p <= LONGEST_PAUSE_S for p in pauses[-10:])


def test_a_line_that_is_no_event_does_not_end_the_reflector() -> None:
    server = Server([("5", ["a"])], [["not json"], [event("ADDED", "b", 6)]])
    copy, pauses = run(server)
    assert copy.names == {"a", "b"}
    assert len(pauses) == 1
