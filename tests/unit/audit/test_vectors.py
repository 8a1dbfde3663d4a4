"""The published example (docs/formats/vectors) is what the code writes, and it verifies."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from intact.adapters.store.database import Database
from intact.adapters.store.leaves import SqlLeafStore
from intact.audit.export import export_log
from intact.audit.log import AuditLog
from intact.audit.note import NoteKey
from intact.audit.record import Leaf, encode_leaf
from intact.audit.steps import record_decision, record_finding, record_incident, record_outcome
from intact.audit.verify import verify_export
from intact.model.container import Container, Pod
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.finding import Change, Difference, Finding, Level
from intact.model.incident import Decision, Incident, IncidentState, Outcome, Phase, PodFacts, Workload
from intact.model.layer import Grade
from intact.model.merkle import hash_leaf
from intact.model.observation import Scope
from intact.model.policy import ActionKind, Cause

REPOSITORY = Path(__file__).parents[3]
VECTORS = REPOSITORY / "docs/formats/vectors"
SIGNER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = NoteKey(name="intact.dev/audit/example", public=SIGNER.public_key().public_bytes_raw())
AT = 1_800_000_000.0

WEB = Workload(kind="Deployment", namespace="shop", name="web", uid="6f1c")
POD = PodFacts(
    uid="0a7d", namespace="shop", name="web-5d9c7-x2x9k", node="node-1", labels=(("app", "web"),), workload=WEB, revision="5d9c7"
)
CONTAINER = Container(
    id="c0ffee",
    name="nginx",
    image="registry.example/web:2",
    image_key=Digest.of(b"config"),
    node="node-1",
    pod=Pod(namespace="shop", name="web-5d9c7-x2x9k", uid="0a7d"),
)


def make_batches() -> list[list[Leaf]]:
    """An incident from the first finding to the proof that it is over."""
    path = b"/usr/share/nginx/html/caf\xe9.php"
    entry = Entry(path=path, kind=Kind.FILE, mode=0o644, uid=33, gid=33, size_bytes=5, digest=Digest.of(b"<?php"))
    finding = Finding(
        container=CONTAINER,
        difference=Difference(path=path, change=Change.ADDED, expected=None, actual=entry),
        level=Level.HIGH,
        rule="code among code",
        scope=Scope.DRIFT,
        baseline_root=Digest.of(b"baseline"),
        grade=Grade.VERIFIED,
        observed_at=AT + 1,
        process="exited",
    )
    incident = Incident(
        id="5a1f00d5a1f00d5a",
        workload=WEB,
        state=IncidentState.OPEN,
        cause=Cause.CONTAINER,
        level=Level.HIGH,
        first_seen=AT + 1,
        last_seen=AT + 1,
        count=1,
        policy="shop/web",
    )
    decision = Decision(
        name="web-rollback-1",
        incident_id=incident.id,
        action=ActionKind.ROLL_BACK,
        workload=WEB,
        pod=POD,
        reason="a finding of at least Medium",
        policy="shop/web",
        at=AT + 2,
        to="LastKnownGood",
    )
    outcome = Outcome(decision=decision, phase=Phase.VERIFIED, message="3 new pods were seen intact", at=AT + 40, revision="7b6f4")
    return [
        [
            record_finding(finding, workload=WEB, incident=incident.id, now=AT + 1.5),
            record_incident(incident, opened=True, now=AT + 1.5),
        ],
        [record_decision(decision, now=AT + 2)],
        [record_outcome(outcome, now=AT + 40.25)],
    ]


def make_vectors(directory: Path) -> dict[str, bytes]:
    database = Database.in_directory(directory)
    store = SqlLeafStore(database)
    log = AuditLog(store, key=KEY, signer=SIGNER, now=AT)
    for batch in make_batches():
        log.append(batch)
    notes = [note for _, note in store.checkpoints()]
    export = b"".join(export_log(store)[1])
    database.close()
    return {"audit-export.jsonl": export, "audit-checkpoint": notes[1], "audit-key.vkey": f"{KEY}\n".encode()}


def test_the_published_example_is_what_the_code_writes(tmp_path: Path) -> None:
    for name, data in make_vectors(tmp_path).items():
        assert (VECTORS / name).read_bytes() == data, name


def test_the_published_example_verifies() -> None:
    lines = (VECTORS / "audit-export.jsonl").read_bytes().splitlines(keepends=True)
    key = NoteKey.parse((VECTORS / "audit-key.vkey").read_text())
    verified = verify_export(lines, [key], kept=[(VECTORS / "audit-checkpoint").read_bytes()])
    assert (verified.checkpoint.size, verified.checkpoints) == (5, 4)


def test_the_page_quotes_the_example() -> None:
    page = (REPOSITORY / "docs/formats/audit-log.md").read_text()
    outcome = encode_leaf(make_batches()[2][0])
    assert outcome.decode() in page and hash_leaf(outcome).hex() in page
    assert (VECTORS / "audit-key.vkey").read_text() in page
    lines = (VECTORS / "audit-export.jsonl").read_bytes().splitlines(keepends=True)
    verified = verify_export(lines, [KEY])
    assert verified.note.decode() in page and f"sha256:{verified.checkpoint.root.hex()}" in page
