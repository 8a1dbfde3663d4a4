"""Alerts at a terminal, and in a pipe."""

from __future__ import annotations

import io
import json

import pytest

from intact.adapters.sinks.stdout import StdoutSink
from intact.model.alert import Alert, AlertKind, AlertPath
from intact.model.errors import PermanentError
from intact.model.finding import Level

PATH = AlertPath(
    path=b"/a\xff\\",
    change="Added",
    level=Level.LOW,
    expected="-",
    actual="x 0644 0:0",
    pod="p",
    node="n",
    container="c",
    process="sh",
    at=1.0,
)
ALERT = Alert(id="a", kind=AlertKind.OPENED, at=1.0, level=Level.HIGH, summary="web differs", paths=(PATH,) * 5, paths_total=9)


def test_people_read_the_gravest_paths_and_how_many_more_there_are() -> None:
    stream = io.StringIO()
    StdoutSink(stream).send(ALERT)
    first, *paths, rest = stream.getvalue().splitlines()
    assert first.endswith("High     web differs") and len(paths) == 3 and rest.strip() == "and 6 more"
    assert paths[0].strip() == r"Added    /a\xff\  - -> x 0644 0:0 by sh"


def test_programs_read_one_object_a_line() -> None:
    stream = io.StringIO()
    sink = StdoutSink(stream, as_json=True)
    sink.send(ALERT)
    sink.send(ALERT)
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first == second and first["paths"][0]["path"] == r"/a\xff\\" and first["pathsTotal"] == 9


def test_a_stream_nobody_reads_is_said_so() -> None:
    stream = io.StringIO()
    stream.close()
    with pytest.raises(PermanentError, match="cannot write an alert"):
        StdoutSink(stream).send(ALERT)
