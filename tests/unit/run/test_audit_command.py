"""`intact audit`: what was recorded can be read, taken away and proven; what was altered ends with exit code 11."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from intact.adapters.store.database import Database
from intact.adapters.store.leaves import SqlLeafStore
from intact.audit.log import AuditLog
from intact.audit.note import NoteKey
from intact.audit.record import Leaf
from intact.audit.steps import record_forged_report

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(32))
KEY = NoteKey(name="intact/test", public=PRIVATE.public_key().public_bytes_raw())


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "intact", "audit", *map(str, arguments)], capture_output=True, text=True, timeout=60)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    database = Database.in_directory(tmp_path / "state")
    log = AuditLog(SqlLeafStore(database), key=KEY, signer=PRIVATE, now=1_800_000_000.0)
    log.append([record_forged_report("n1", claimed="pod shop/\x1b[2Jweb", reason="runs on n2", now=1_800_000_001.0)])
    log.append([Leaf(kind="Outcome", at=1_800_000_002.0, workload="Deployment shop/web", incident="i1", body={"action": "RollBack"})])
    database.close()
    return tmp_path / "state"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    (tmp_path / "key.pub").write_bytes(PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return tmp_path / "key.pub"


def test_what_was_recorded_is_exported_verified_and_continued(state: Path, key: Path, tmp_path: Path) -> None:
    export, kept = tmp_path / "export.jsonl", tmp_path / "kept"
    assert run("export", "--state", state, "-o", export).returncode == 0
    verified = run("verify", export, "--key", key, "--save-checkpoint", kept)
    assert verified.returncode == 0 and verified.stdout.startswith("verified: 3 leaves, 3 checkpoints of intact/test\n")
    assert run("verify", export, "--key", key, "--checkpoint", kept).stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export.jsonl", "kept", "key.pub", "state"]
    assert run("export", "--state", state, "-o", "-").stdout == export.read_text()


def test_an_edited_export_ends_with_11_and_names_the_leaf(state: Path, key: Path, tmp_path: Path) -> None:
    export = tmp_path / "export.jsonl"
    run("export", "--state", state, "-o", export)
    export.write_text(export.read_text().replace("runs on n2", "runs on n1"))
    refused = run("verify", export, "--key", key)
    assert refused.returncode == 11 and refused.stdout == ""
    assert refused.stderr.startswith("intact: line 4: leaf 1 was edited") and refused.stderr.count("\n") == 1


@pytest.mark.parametrize("content", ["", "hello\n", '{"format":"intact-audit-export","version":2}\n', "\x00" * 5000])
def test_what_is_no_export_ends_with_11(content: str, key: Path, tmp_path: Path) -> None:
    (tmp_path / "export").write_text(content)
    refused = run("verify", tmp_path / "export", "--key", key)
    assert refused.returncode == 11 and refused.stderr.startswith("intact: ") and "Traceback" not in refused.stderr


def test_files_that_are_missing_or_no_key_are_the_callers_to_mend(key: Path, tmp_path: Path) -> None:
    for arguments in ((tmp_path / "none", "--key", key), (key, "--key", tmp_path / "none"), (key, "--key", tmp_path)):
        refused = run("verify", *arguments)
        assert refused.returncode == 10 and refused.stderr.count("\n") == 1
    missing = run("show", "--state", tmp_path)
    assert missing.returncode == 10 and "there is no" in missing.stderr


def test_the_record_is_shown_filtered_and_safe_for_a_terminal(state: Path) -> None:
    table = run("show", "--state", state).stdout
    assert "ForgedReport" in table and "LogBegun" in table and "\x1b" not in table
    rows = json.loads(run("show", "--state", state, "--kind", "Outcome", "--output", "json").stdout)
    assert [(row["leaf"], row["body"]) for row in rows] == [(2, {"action": "RollBack"})]
    for arguments in (("--incident", "i1"), ("--workload", "shop/web"), ("--since", "2027-01-15T08:00:02Z")):
        (line,) = run("show", "--state", state, *arguments, "--output", "jsonl").stdout.splitlines()
        assert json.loads(line)["kind"] == "Outcome"
    assert run("show", "--state", state, "--since", "yesterday").returncode == 10
    assert run("show", "--state", state, "--kind", "Nonsense").returncode == 2
