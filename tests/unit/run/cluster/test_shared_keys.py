"""One audit key for all replicas, made once, and policy changes that reach the record although it could not be written at once."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest

from intact.adapters.cluster.kinds import POLICY
from intact.adapters.store.database import Database
from intact.adapters.store.leaves import SqlLeafStore
from intact.audit.log import AuditLog
from intact.audit.ports import Query
from intact.audit.query import find_leaves
from intact.audit.record import Leaf, LeafKind
from intact.model.errors import InputError, TemporaryError
from intact.run.cluster.policies import KnownPolicy
from intact.run.cluster.policy_record import PolicyRecord
from intact.run.cluster.shared_keys import share_audit_key
from intact.run.settings import read_controller_settings
from tests.unit.adapters.store.test_stores import KEY, PRIVATE


class Secret:
    """Implements `adapters.keys.tls.CertificateStore` as a Secret does: the version that was read is the precondition."""

    def __init__(self, files: Mapping[str, bytes] = MappingProxyType({})) -> None:
        self.files = dict(files)

    def read(self) -> Mapping[str, bytes]:
        return dict(self.files)

    def replace(self, files: Mapping[str, bytes], *, read_before: Mapping[str, bytes]) -> None:
        if dict(read_before) != self.files:
            raise TemporaryError("changed meanwhile")
        self.files = dict(files)


def test_all_replicas_get_the_key_that_the_acting_one_made_and_nothing_else_is_lost(tmp_path: Path) -> None:
    secret, stop = Secret({"ca.key": b"another's"}), threading.Event()
    waiting = [
        threading.Thread(target=share_audit_key, args=(secret, tmp_path / name), kwargs={"may_make": lambda: False, "stop": stop})
        for name in ("b", "c")
    ]
    for thread in waiting:
        thread.start()
    share_audit_key(secret, tmp_path / "a", may_make=lambda: True, stop=stop)
    for thread in waiting:
        thread.join(60)
    keys = [(tmp_path / name / "audit.pem").read_bytes() for name in "abc"]
    assert keys[0] == keys[1] == keys[2] == secret.files["audit.pem"] and secret.files["ca.key"] == b"another's"
    assert all((tmp_path / name / "audit.pem").stat().st_mode & 0o777 == 0o600 for name in "abc")


def test_of_two_that_make_a_key_at_once_one_wins(tmp_path: Path) -> None:
    secret, stop = Secret(), threading.Event()
    both = [
        threading.Thread(target=share_audit_key, args=(secret, tmp_path / name), kwargs={"may_make": lambda: True, "stop": stop})
        for name in ("a", "b")
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    assert (tmp_path / "a/audit.pem").read_bytes() == (tmp_path / "b/audit.pem").read_bytes()


def test_a_key_that_was_on_the_disk_before_there_were_replicas_is_kept(tmp_path: Path) -> None:
    from intact.adapters.keys.signing import generate_key

    generate_key(tmp_path / "audit")
    before, secret = (tmp_path / "audit.pem").read_bytes(), Secret()
    share_audit_key(secret, tmp_path, may_make=lambda: True, stop=threading.Event())
    assert secret.files["audit.pem"] == before == (tmp_path / "audit.pem").read_bytes()


class Moody(AuditLog):
    """A record that cannot be written while `is_down`."""

    is_down = False

    def append(self, leaves: Sequence[Leaf]):  # type: ignore[no-untyped-def]
        if self.is_down:
            raise TemporaryError("the database does not answer")
        return super().append(leaves)


def known(name: str) -> KnownPolicy:
    return KnownPolicy(kind=POLICY, namespace="shop", name=name, generation=1, spec={}, policy=None, problem="")


def test_a_change_of_a_policy_waits_until_the_record_can_be_written(tmp_path: Path) -> None:
    database = Database.in_directory(tmp_path)
    store = SqlLeafStore(database)
    log = Moody(store, key=KEY, signer=PRIVATE, now=1.0)
    record = PolicyRecord(log, clock=lambda: 2.0)
    record.add((None, known("before it acts")))
    record.begin([known("a")])
    log.is_down = True
    record.add((known("a"), None))
    record.add((None, known("b")))
    log.is_down = False
    record.flush()
    record.flush()
    leaves = [leaf for _, leaf in find_leaves(store, Query(kinds=frozenset({LeafKind.POLICY_CHANGED.value})))]
    assert [(leaf.body["name"], leaf.body["verb"]) for leaf in leaves] == [("a", "Added"), ("a", "Deleted"), ("b", "Added")]
    database.close()


def test_the_authority_of_the_database_is_part_of_its_url_unless_that_names_one() -> None:
    env = {"INTACT_NAMESPACE": "n", "INTACT_POD_NAME": "p", "INTACT_DATABASE_CA_FILE": "/etc/ca dir/ca.crt"}
    url = "postgresql://u:p@db/intact"
    assert read_controller_settings(env).database_url == ""
    assert read_controller_settings({**env, "INTACT_DATABASE_URL": url}).database_url == f"{url}?sslrootcert=/etc/ca%20dir/ca.crt"
    more = f"{url}?sslmode=verify-ca"
    assert read_controller_settings({**env, "INTACT_DATABASE_URL": f"{more}\n"}).database_url == f"{more}&sslrootcert=/etc/ca%20dir/ca.crt"
    own = f"{url}?sslrootcert=/x"
    assert read_controller_settings({**env, "INTACT_DATABASE_URL": own}).database_url == own


def test_a_state_that_is_not_there_is_said_also_with_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from intact.run.storage.recorded import open_recorded

    monkeypatch.delenv("INTACT_DATABASE_URL", raising=False)
    with pytest.raises(InputError, match="there is no"):
        open_recorded(tmp_path)
