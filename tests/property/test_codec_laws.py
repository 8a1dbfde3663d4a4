"""What is written can be read back, whatever a container's file is called; and nothing else can be read."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intact.adapters.codec import decode, decode_all, encode, encode_all
from intact.model.bytestext import escape_bytes, unescape_bytes
from intact.model.container import Container
from intact.model.digest import SIZES, Digest
from intact.model.entry import Entry
from intact.model.errors import InputError
from intact.model.finding import Finding, Verdict
from intact.model.incident import Decision, Incident, Outcome, PathSummary, PodFacts, Reported
from intact.model.policy import Policy
from intact.model.revision import RevisionRecord
from intact.model.seam import Command, Plan, Report

KINDS = [
    Entry,
    Finding,
    Verdict,
    Report,
    Incident,
    Decision,
    Outcome,
    RevisionRecord,
    Plan,
    Command,
    Reported,
    PathSummary,
    PodFacts,
    Policy,
]

DIGESTS = st.sampled_from(sorted(SIZES)).flatmap(
    lambda name: st.builds(Digest, st.just(name), st.binary(min_size=SIZES[name], max_size=SIZES[name]))
)
st.register_type_strategy(Digest, DIGESTS)
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
st.register_type_strategy(int, st.integers(-(2**63), 2**64 - 1))
st.register_type_strategy(str, st.text(st.characters(exclude_categories=["Cs"]), max_size=6))
st.register_type_strategy(bytes, st.binary(max_size=6))


def _small(kind: type) -> st.SearchStrategy[object]:
    return st.from_type(kind)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(data=st.data())
def test_every_record_reads_back_as_it_was(kind: type, data: st.DataObject) -> None:
    record = data.draw(_small(kind))
    assert decode(kind, encode(record)) == record
    assert decode_all(kind, encode_all([record, record])) == (record, record)


@given(st.binary())
def test_every_byte_string_has_one_text(data: bytes) -> None:
    assert unescape_bytes(escape_bytes(data)) == data


@given(st.text(alphabet=st.sampled_from(list("\\xé/8fF0a\udc80"))))
def test_a_text_is_refused_or_is_the_one_text_of_its_bytes(text: str) -> None:
    try:
        data = unescape_bytes(text)
    except InputError:
        return
    assert escape_bytes(data) == text


COMMAND = Command(id="c1", node="n1", kind="Rescan", pod_uid="u1", expires_at=5.0)


def test_a_field_nobody_knows_is_refused_and_named() -> None:
    document = json.loads(encode(COMMAND)) | {"surprise": 1}
    with pytest.raises(InputError, match="surprise"):
        decode(Command, json.dumps(document).encode())


@pytest.mark.parametrize("name", [field.name for field in fields(Command)])
def test_a_missing_field_without_a_default_is_refused_and_named(name: str) -> None:
    document = json.loads(encode(COMMAND))
    del document[name]
    with pytest.raises(InputError, match=name):
        decode(Command, json.dumps(document).encode())


def test_a_missing_field_with_a_default_has_the_default() -> None:
    container = Container(id="c", name="web", image="web:1", image_key=None, node="n")
    document = json.loads(encode(container))
    del document["pod"], document["started_at"]
    assert decode(Container, json.dumps(document).encode()) == container


@pytest.mark.parametrize(
    "unverified",
    [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"id":"c","node":"n","kind":"k","pod_uid":"u","expires_at":"5"}', b'{"id":"\\ud800"}'],
)
def test_what_is_no_record_is_refused_without_a_traceback(unverified: bytes) -> None:
    with pytest.raises(InputError, match="not a Command"):
        decode(Command, unverified)


def test_a_document_beyond_the_bound_is_not_even_parsed() -> None:
    with pytest.raises(InputError, match="larger than the bound of 10"):
        decode(Command, encode(COMMAND), max_bytes=10)


def test_bad_values_inside_are_refused() -> None:
    entry = json.loads(encode(Entry(path=b"/a", kind="file", mode=0o644)))  # type: ignore[arg-type]
    for wrong in ({"kind": "portal"}, {"digest": "md5:00"}, {"path": "\\q"}, {"device": [1]}, {"mode": 0.5}):
        with pytest.raises(InputError):
            decode(Entry, json.dumps(entry | wrong).encode())


def test_enums_that_are_numbers_inside_are_names_outside() -> None:
    assert b'"action":"RollBack"' in encode(_decision())


def _decision() -> Decision:
    from intact.model.incident import Workload
    from intact.model.policy import ActionKind

    workload = Workload(kind="Deployment", namespace="shop", name="web")
    return Decision(name="d", incident_id="i", action=ActionKind.ROLL_BACK, workload=workload, pod=None, reason="r", policy="p", at=1.0)
