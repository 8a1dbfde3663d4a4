"""`intact diff --output sarif` is SARIF 2.1.0: held against the field rules of the OASIS Standard (sarif-v2.1.0-errata01-os), section by
section, for every object that it writes. The rules are stricter than the standard in one thing: a field that is not named here is an error,
as it is for every reader that validates."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import pytest

from intact.compare.rules import RULES
from intact.model.container import Container, Pod
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.finding import Change, Difference, Finding, Level, State, Verdict
from intact.model.layer import Grade
from intact.model.observation import Scope, Unobserved
from intact.model.process import Writer
from intact.model.shown import Shown, ShownDifference
from intact.run.cli.sarif import make_sarif, show_verdicts

FILE = Entry(path=b"/etc/app.conf", kind=Kind.FILE, mode=0o644, size_bytes=3, digest=Digest.of(b"abc"))
HOSTILE = b"/srv/\xff\x1b[2J a:b/%41?x#y/..hidden"
WRITER = Writer(
    pid=7, executable=b"/bin/sh", name=b"sh", arguments=(b"sh", b"-c\xff"), parents=(), uid=None, started_at=1.0, has_exited=True
)


def differ(path: bytes = FILE.path, **more: Any) -> ShownDifference:
    fields: dict[str, Any] = {"change": Change.MODIFIED, "expected": FILE, "actual": FILE, "scope": Scope.DRIFT, "level": "Medium"}
    return ShownDifference(path=path, **{**fields, "rule": "image-file-changed", **more})


CONTAINER = Container(id="c1", name="web", image="web:1", image_key=None, node="n1", pod=Pod(namespace="shop", name="web-1", uid="u"))
EVERY_RULE = tuple(differ(f"/{rule}".encode(), rule=rule, level="High") for rule in RULES)
EVERY_LEVEL = tuple(differ(level=level) for level in ("Critical", "High", "Medium", "Low", "Info", ""))
EVERY_CHANGE = tuple(differ(change=change) for change in Change)
ODD = (
    differ(b"/", change=Change.METADATA, fields=("mode",)),
    differ(HOSTILE, change=Change.ADDED, expected=None, text=("@@ -0,0 +1 @@", "+evil\x1b[2J"), process="\x1b]0;x\x07", writer=WRITER),
    differ(b"/memfd:x", change=Change.EXECUTED, scope=Scope.LIVE, expected=None, actual=None, now="executed, in memory alone"),
    differ(b"//etc//passwd", change=Change.DELETED, actual=None, changed_at=2.0, was="text", untold="not text"),
)
WHOLE = Shown(
    container=CONTAINER,
    baseline_root=Digest.of(b""),
    grade=Grade.VERIFIED,
    at=1_700_000_000.5,
    differences=(*EVERY_RULE, *EVERY_LEVEL, *EVERY_CHANGE, *ODD),
    unobserved=(Unobserved(path=HOSTILE, reason="\x1bmetacopy"),),
    left_out=3,
    silent=4,
)
EMPTY = Shown(container=replace(CONTAINER, id="c2", pod=None), baseline_root=Digest.of(b""), grade=Grade.FIRST_SEEN, at=0.0)


# -- the rules -----------------------------------------------------------------------------------------------------------

Check = Callable[[Any], None]


def text(value: Any) -> None:
    assert isinstance(value, str) and value


def plain(value: Any) -> None:
    """3.11.3: a plain text message; a `{` would begin a placeholder (3.11.5) only with arguments, which are never given."""
    text(value)


def boolean(value: Any) -> None:
    assert isinstance(value, bool)


def index(value: Any) -> None:
    assert isinstance(value, int) and not isinstance(value, bool) and value >= 0


def one_of(*allowed: str) -> Check:
    def check(value: Any) -> None:
        assert value in allowed

    return check


def instant(value: Any) -> None:
    """3.9: UTC, with a `Z`."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", value) and datetime.fromisoformat(value)


def reference(value: Any) -> None:
    """3.10.1: a URI reference (RFC 3986); here relative, to a base."""
    text(value)
    assert re.fullmatch(r"(?:[A-Za-z0-9._~!$&'()*+,;=@/-]|%[0-9A-F]{2})*", value)
    parts = urlsplit(value)
    assert not (parts.scheme or parts.netloc or parts.query or parts.fragment), "nothing in a file's name leads elsewhere"
    assert ".." not in value.split("/")


def bag(value: Any) -> None:
    """3.8: a property bag; `tags`, were it there, would be strings."""
    assert isinstance(value, dict) and "tags" not in value


def several(check: Check) -> Check:
    def each(value: Any) -> None:
        assert isinstance(value, list)
        for one in value:
            check(one)

    return each


def named(check: Check) -> Check:
    def each(value: Any) -> None:
        assert isinstance(value, dict)
        for name, one in value.items():
            assert re.fullmatch(r"[A-Z][A-Z0-9]*", name)
            check(one)

    return each


def record(required: dict[str, Check], optional: dict[str, Check] | None = None) -> Check:
    def check(value: Any) -> None:
        assert isinstance(value, dict)
        known = required | (optional or {})
        assert required.keys() <= value.keys() <= known.keys(), value.keys() ^ known.keys()
        for name, one in value.items():
            known[name](one)

    return check


LEVEL = one_of("none", "note", "warning", "error")
MESSAGE = record({"text": plain})  # 3.11
ARTIFACT = record({}, {"uri": reference, "uriBaseId": text, "description": MESSAGE})  # 3.4
LOCATION = record(  # 3.28, 3.29, 3.33
    {}, {"physicalLocation": record({"artifactLocation": ARTIFACT}), "logicalLocations": several(record({"fullyQualifiedName": text}))}
)
NOTIFICATION = record({"message": MESSAGE}, {"level": LEVEL})  # 3.58
INVOCATION = record({"executionSuccessful": boolean}, {"endTimeUtc": instant, "toolExecutionNotifications": several(NOTIFICATION)})  # 3.20
RULE = record({"id": text}, {"shortDescription": MESSAGE})  # 3.49
DRIVER = record({"name": text}, {"version": text, "rules": several(RULE)})  # 3.19
RESULT = record(  # 3.27
    {"message": MESSAGE},
    {
        "ruleId": text,
        "ruleIndex": index,
        "kind": one_of("pass", "open", "informational", "notApplicable", "review", "fail"),
        "level": LEVEL,
        "locations": several(LOCATION),
        "properties": bag,
    },
)
RUN = record(  # 3.14
    {"tool": record({"driver": DRIVER}), "results": several(RESULT)},
    {
        "automationDetails": record({}, {"id": text}),
        "originalUriBaseIds": named(ARTIFACT),
        "invocations": several(INVOCATION),
        "properties": bag,
    },
)
LOG = record({"version": one_of("2.1.0"), "runs": several(RUN)}, {"$schema": text})  # 3.13


# -- what is written -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def log() -> dict[str, Any]:
    return make_sarif([WHOLE, EMPTY])


def test_what_a_check_finds_has_the_same_fields() -> None:
    finding = Finding(
        container=CONTAINER,
        difference=Difference(path=b"/etc/x", change=Change.MODIFIED, expected=FILE, actual=FILE, fields=("content",)),
        level=Level.HIGH,
        rule="image-file-changed",
        scope=Scope.DRIFT,
        baseline_root=Digest.of(b""),
        grade=Grade.VERIFIED,
        observed_at=1.0,
    )
    clean = Verdict(container=CONTAINER, state=State.INTACT, scope=Scope.LIVE, at=2.0)
    found = replace(clean, state=State.DRIFTED, scope=Scope.DRIFT, findings=(finding,), unobserved=(Unobserved(path=b"/x", reason="y"),))
    log = make_sarif([show_verdicts([found, clean])])
    LOG(log)
    assert [result["ruleId"] for _, result in results(log)] == ["image-file-changed"]
    assert not log["runs"][0]["invocations"][0]["executionSuccessful"]


def results(log: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for run in log["runs"]:
        for result in run["results"]:
            yield run, result


def test_every_object_has_the_fields_it_must_and_no_other(log: dict[str, Any]) -> None:
    LOG(log)
    assert len(log["runs"]) == 2 and len(log["runs"][0]["results"]) == len(WHOLE.differences)


def test_a_result_that_is_no_failure_has_no_level(log: dict[str, Any]) -> None:
    """3.27.10: where `kind` is not `fail`, `level` is `none`."""
    kinds = {(result["kind"], result["level"]) for _, result in results(log)}
    assert kinds == {("fail", "error"), ("fail", "warning"), ("fail", "note"), ("informational", "none")}


def test_results_name_a_rule_of_their_run(log: dict[str, Any]) -> None:
    """3.27.5, 3.27.6, 3.52.4; 3.19.23: rules are unique."""
    for run, result in results(log):
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    for run in log["runs"]:
        ids = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
        assert len(ids) == len(set(ids))


def test_a_path_comes_back_byte_by_byte_from_its_uri(log: dict[str, Any]) -> None:
    """3.4.4: the base is one of the run's."""
    for (run, result), shown in zip(results(log), WHOLE.differences, strict=True):
        place = result["locations"][0]["physicalLocation"]["artifactLocation"]
        assert place["uriBaseId"] in run["originalUriBaseIds"]
        assert unquote_to_bytes(place["uri"]).lstrip(b"./") == shown.path.lstrip(b"/.")


def test_what_was_not_seen_is_a_notification_and_no_success(log: dict[str, Any]) -> None:
    """3.20.14, 3.20.21."""
    whole, empty = (run["invocations"][0] for run in log["runs"])
    assert not whole["executionSuccessful"] and len(whole["toolExecutionNotifications"]) == 2
    assert empty["executionSuccessful"] and empty["toolExecutionNotifications"] == []
    assert "endTimeUtc" not in empty, "a time that is not known is left out"


def test_no_control_character_reaches_a_reader(log: dict[str, Any]) -> None:
    def walk(value: Any) -> Iterator[str]:
        match value:
            case str():
                yield value
            case dict():
                for key, one in value.items():
                    yield key
                    yield from walk(one)
            case list():
                for one in value:
                    yield from walk(one)

    assert all(one.isprintable() for one in walk(log))
