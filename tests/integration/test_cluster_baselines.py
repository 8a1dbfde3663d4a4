"""The cluster's own baselines from a real registry: several platforms under one name, and what people supply."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from intact.adapters.cluster.declared import DeclaredObjects
from intact.adapters.cluster.kinds import BASELINE
from intact.adapters.layout.oci import LayoutSource
from intact.adapters.registry.access import RegistryAccess
from intact.adapters.store.baselines import BaselineDirectory
from intact.adapters.store.database import Database
from intact.adapters.store.served import SqlServed
from intact.baseline.collect import RETAIN_S, collect
from intact.baseline.document import encode_document
from intact.baseline.signing import KeySigner, PublicKey
from intact.baseline.store import BaselineStore
from intact.baseline.trust import NOBODY, TrustRoot
from intact.ingest.image import ingest
from intact.model.digest import SHA256, Algorithms, Digest
from intact.model.layer import Baseline, Grade
from intact.run.cluster.baselines import ClusterBaselines
from intact.run.cluster.supplied import Declaration, SuppliedBaselines, read_declarations
from intact.run.storage.keeping import open_own_key, open_store
from lab import layers
from lab.images import pack_entries
from lab.oci import ImageLayout, write_layout
from lab.registries import Registry
from tests.artifacts import push_file, push_index

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


def image(directory: Path, machine: str) -> ImageLayout:
    packed = pack_entries([layers.file(b"/bin/app", machine.encode(), 0o755)], directory)
    return write_layout(directory, "docker.io/local/app:1", [packed], machine=machine)


def library(
    directory: Path, registry: Registry, supplied: SuppliedBaselines | None = None, algorithms: Algorithms = SHA256
) -> ClusterBaselines:
    signer = open_own_key(directory / "own" / "key")
    access = RegistryAccess(plain_http=frozenset({registry.host}))
    return ClusterBaselines(open_store(directory / "baselines", signer), signer, access=access, supplied=supplied, algorithms=algorithms)


def test_another_choice_of_algorithms_is_computed_anew_and_kept(registry: Registry, tmp_path: Path) -> None:
    layout = image(tmp_path / "image", "amd64")
    name = push_index(registry.host, "team/algorithms", [(layout, "amd64")])
    first = library(tmp_path, registry).compute(name, "linux/amd64")
    wanted = Algorithms("belt-hash", ("md5",))
    again = library(tmp_path, registry, algorithms=wanted).compute(name, "linux/amd64")
    assert (first.algorithms, again.algorithms, again.key) == (SHA256, wanted, first.key)
    assert first.root != again.root
    kept = library(tmp_path, registry, algorithms=wanted)
    assert kept.compute(name, "linux/amd64").root == again.root
    known = kept.known(first.key)
    assert known is not None and known.algorithms == "belt-hash md5"


def test_an_image_that_comes_back_counts_as_needed_for_whoever_collects(registry: Registry, tmp_path: Path) -> None:
    """`intact baseline gc` beside a controller does not know what runs: only when it was needed last."""
    name = push_index(registry.host, "team/back", [(image(tmp_path / "image", "amd64"), "amd64")])
    first = library(tmp_path, registry).compute(name, "linux/amd64")
    later = time.time() + 2 * RETAIN_S
    signer, files = open_own_key(tmp_path / "own" / "key"), BaselineDirectory(tmp_path / "baselines")
    store = BaselineStore(files, signer=signer, clock=lambda: later)
    access = RegistryAccess(plain_http=frozenset({registry.host}))
    assert ClusterBaselines(store, signer, access=access).compute(name, "linux/amd64").key == first.key
    assert collect(files, needed=(), now=later + 1).baselines == ()
    assert [one.name for one in collect(files, needed=(), now=later + 2 * RETAIN_S).baselines] == [str(first.key)]


def test_one_name_is_another_image_on_nodes_of_another_platform(registry: Registry, tmp_path: Path) -> None:
    images = {machine: image(tmp_path / machine, machine) for machine in ("amd64", "arm64")}
    name = push_index(registry.host, "team/both", [(layout, machine) for machine, layout in images.items()])
    cluster = library(tmp_path, registry)
    for machine in ("arm64", "amd64", "arm64", "amd64"):
        found = cluster.compute(name, f"linux/{machine}")
        assert (str(found.key), found.platform, found.grade) == (images[machine].config_digest, f"linux/{machine}", Grade.VERIFIED)
    roots = set()
    for layout in images.values():
        known = cluster.known(Digest.parse(layout.config_digest))
        assert known is not None and known.grade is Grade.VERIFIED
        roots.add(known.root)
    assert len(roots) == 2
    alone = f"{registry.host}/team/both@{images['arm64'].manifest_digest}"
    assert str(cluster.compute(alone, "linux/amd64").key) == images["arm64"].config_digest, "a manifest says itself what it is"


# -- supplied ------------------------------------------------------------------------------------------------------------


class Supplying:
    """A controller's copy of what people supplied, and what it did about each declaration."""

    def __init__(self, directory: Path, registry: Registry, trust: TrustRoot = NOBODY) -> None:
        self.directory, self.registry, self.trust = directory, registry, trust
        self.changed: list[Digest] = []
        self.own: Baseline | None = None
        self.now = NOW
        self.restart()

    def restart(self, *, host: str = "") -> None:
        access = RegistryAccess(plain_http=frozenset({host or self.registry.host}))
        signer = open_own_key(self.directory / "own" / "key")
        self.supplied = SuppliedBaselines(
            self.directory / "supplied",
            signer,
            served=SqlServed(Database.in_directory(self.directory)),
            access=access,
            trust=lambda: self.trust,
            retired=tuple,
        )

    def follow(self, *declared: Declaration) -> None:
        self.now += 1000.0
        self.supplied.follow({one.key: one for one in declared}, lambda key: self.own, self.changed.append, self.now)

    def reason(self, key: Digest) -> str:
        judged = self.supplied.judged(key)
        return judged.reason if judged is not None else ""


@pytest.fixture
def supplying(registry: Registry, tmp_path: Path) -> Supplying:
    return Supplying(tmp_path, registry)


@pytest.fixture
def baseline(tmp_path: Path) -> Baseline:
    return ingest(LayoutSource(image(tmp_path / "image", "amd64").directory))


@dataclass
class Impostor:
    """Signs in the name of another's key."""

    public: PublicKey
    hand: KeySigner

    def sign(self, message: bytes) -> bytes:
        return self.hand.sign(message)


def declare(registry: Registry, baseline: Baseline, data: bytes, *, root: Digest | None = None, key: Digest | None = None) -> Declaration:
    return Declaration(key=key or baseline.key, artifact=push_file(registry.host, "team/baselines", data), root=root)


def test_what_a_person_vouches_for_is_supplied_and_found_by_its_key_alone(supplying: Supplying, baseline: Baseline) -> None:
    named = replace(baseline, aliases=("registry.example/other@sha256:" + "0" * 64,))
    one = declare(supplying.registry, baseline, encode_document(named), root=baseline.root)
    supplying.follow(one)
    assert supplying.changed == [baseline.key]
    found = supplying.supplied.get(baseline.key)
    assert found is not None
    assert (found.grade, found.root, found.aliases, found.source) == (Grade.SUPPLIED, baseline.root, (), f"supplied:{one.artifact}")
    supplying.follow(one)
    assert supplying.changed == [baseline.key], "the same again is nothing new"
    assert supplying.supplied.has_served(baseline.root) and supplying.supplied.withdrawn() == ()


def test_what_was_pushed_alone_is_accepted_by_the_reference_that_was_printed(
    supplying: Supplying, baseline: Baseline, tmp_path: Path
) -> None:
    file = tmp_path / "web.baseline"
    file.write_bytes(encode_document(baseline))
    host = supplying.registry.host
    command = [sys.executable, "-m", "intact", "baseline", "push", str(file), f"docker://{host}/team/alone:web", "--alone"]
    pushed = subprocess.run([*command, "--plain-http", host], capture_output=True, text=True)
    assert pushed.returncode == 0, pushed.stderr
    reference = pushed.stdout.strip()
    supplying.follow(Declaration(key=baseline.key, artifact=reference, root=baseline.root))
    assert supplying.reason(baseline.key) == "Accepted"
    found = supplying.supplied.get(baseline.key)
    assert found is not None
    assert (found.grade, found.root, found.source) == (Grade.SUPPLIED, baseline.root, f"supplied:{reference}")


def test_what_a_trusted_key_signed_is_signed(supplying: Supplying, baseline: Baseline) -> None:
    signer = KeySigner(Ed25519PrivateKey.generate())
    supplying.trust = TrustRoot.of(signer.public)
    supplying.follow(declare(supplying.registry, baseline, encode_document(baseline, [signer])))
    found = supplying.supplied.get(baseline.key)
    assert found is not None and found.grade is Grade.SIGNED
    assert supplying.supplied.signers(baseline.key) == (signer.public.id,)


def test_what_does_not_verify_is_refused_and_says_why(supplying: Supplying, baseline: Baseline) -> None:
    registry, key, root = supplying.registry, baseline.key, baseline.root
    plain, stranger = encode_document(baseline), KeySigner(Ed25519PrivateKey.generate())
    broken = bytearray(plain)
    broken[-1] ^= 1
    wrong = Digest.of(b"another root")
    trusted = KeySigner(Ed25519PrivateKey.generate())
    supplying.trust = TrustRoot.of(trusted.public)
    forged = encode_document(baseline, [Impostor(trusted.public, stranger)])
    for what, one, reason in [
        ("nobody vouches", declare(registry, baseline, plain), "Unsigned"),
        ("a key nobody trusts", declare(registry, baseline, encode_document(baseline, [stranger])), "Unsigned"),
        ("another root", declare(registry, baseline, plain, root=wrong), "RootMismatch"),
        ("another image", declare(registry, baseline, plain, root=root, key=Digest.of(b"x")), "OtherImage"),
        ("a trusted key's signature that is none", declare(registry, baseline, forged, root=root), "Signature"),
        ("no baseline", declare(registry, baseline, b"nothing of the kind", root=root), "DocumentFormat"),
        ("not by digest", Declaration(key=key, artifact=f"{registry.host}/team/baselines:latest", root=root), "InvalidArtifact"),
    ]:
        supplying.follow(one)
        judged = supplying.supplied.judged(one.key)
        assert judged is not None and judged.grade is None, what
        assert (what, judged.reason) == (what, reason) and judged.message
        assert supplying.supplied.get(one.key) is None, what
    one = declare(registry, baseline, bytes(broken), root=root)
    supplying.follow(one)
    assert supplying.supplied.get(one.key) is None, "a changed byte"


def test_what_contradicts_the_images_own_bytes_is_refused(supplying: Supplying, baseline: Baseline, tmp_path: Path) -> None:
    other = ingest(LayoutSource(image(tmp_path / "other", "arm64").directory))
    false = replace(other, key=baseline.key)
    one = declare(supplying.registry, baseline, encode_document(false), root=false.root)
    supplying.follow(one)
    assert supplying.reason(baseline.key) == "Accepted", "nobody knows better yet"
    supplying.own = baseline
    supplying.follow(one)
    assert supplying.reason(baseline.key) == "ContradictsImage"
    assert supplying.supplied.get(baseline.key) is None
    assert supplying.supplied.withdrawn() == ((baseline.key, false.root),), "nodes that were given it are told"


def test_it_survives_a_restart_without_the_registry_and_goes_with_its_object(supplying: Supplying, baseline: Baseline) -> None:
    one = declare(supplying.registry, baseline, encode_document(baseline), root=baseline.root)
    supplying.follow(one)
    supplying.restart(host="127.0.0.1:1")
    supplying.follow(one)
    found = supplying.supplied.get(baseline.key)
    assert found is not None and found.grade is Grade.SUPPLIED
    supplying.restart()
    supplying.follow()
    assert supplying.supplied.get(baseline.key) is None
    assert supplying.supplied.withdrawn() == ((baseline.key, baseline.root),), "also of what was given out before the restart"
    assert supplying.changed[-1] == baseline.key
    supplying.follow(one)
    assert supplying.supplied.withdrawn() == (), "declared again"


def test_an_object_that_the_api_server_should_not_have_taken_is_passed_over() -> None:
    store = DeclaredObjects()
    good, root = str(Digest.of(b"good")), str(Digest.of(b"root"))
    specs = [
        {"key": good, "supplied": {"artifact": "registry.example/x@sha256:" + "0" * 64, "root": root}},
        {"key": str(Digest.of(b"1")), "supplied": {"artifact": "x", "root": "nonsense"}},
        {"key": str(Digest.of(b"2")), "supplied": "text"},
        {"key": "nonsense", "supplied": {"artifact": "x"}},
        {"key": str(Digest.of(b"3"))},
        {},
    ]
    store.of(BASELINE).replace_all([{"metadata": {"name": f"n{number}"}, "spec": spec} for number, spec in enumerate(specs)])
    assert [(str(one.key), str(one.root)) for one in read_declarations(store)] == [(good, root)]


def test_a_supplied_baseline_serves_where_nothing_better_is_known(supplying: Supplying, baseline: Baseline, tmp_path: Path) -> None:
    cluster = library(tmp_path / "cluster", supplying.registry, supplying.supplied)
    assert cluster.document(baseline.key) is None
    supplying.follow(declare(supplying.registry, baseline, encode_document(baseline), root=baseline.root))
    cluster.forget(baseline.key)
    known = cluster.known(baseline.key)
    assert known is not None and known.grade is Grade.SUPPLIED
    assert cluster.document(baseline.key) is not None
    layout = image(tmp_path / "again", "amd64")
    computed = cluster.compute(layout.push(supplying.registry.host, "team/app:1"), "linux/amd64")
    assert computed.key == baseline.key and computed.grade is Grade.VERIFIED
    known = cluster.known(baseline.key)
    assert known is not None and known.grade is Grade.VERIFIED
