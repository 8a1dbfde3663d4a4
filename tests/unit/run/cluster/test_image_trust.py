"""Images that must be signed: told once, healed by a signature, never called unsigned where nobody could look. The signatures are
cosign's own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from intact.act.ports import ContainerState
from intact.baseline.ports import CANNOT_VERIFY, Opened, UnverifiedSignature
from intact.decide.grammar import CLUSTER, parse_policy
from intact.model.digest import Digest
from intact.model.errors import PermanentError, TemporaryError, TrustError
from intact.model.incident import IncidentState, Matter, PodFacts, Workload
from intact.model.policy import Cause, Mode, Policy, Signatory
from intact.model.revision import RevisionRecord
from intact.run.cluster.image_trust import LAST_RETRY_S, PATIENCE_S, SIGNED_S, UNSIGNED_S, ImageTrust, image_to_check
from tests.unit.baseline.cosigned import BUNDLE, IMAGE, P256, SIMPLE
from tests.unit.clusters import staged

POLICY = Policy(name="signed", signed_by=parse_policy(
    {"metadata": {"name": "p"}, "spec": {"baseline": {"signedBy": [{"key": P256.pem.decode(), "name": "ci"}]}}}, CLUSTER
).signed_by)  # fmt: skip
WEB = Workload(kind="Deployment", namespace="shop", name="web", uid="uid-shop-web")
NAME = f"registry.example/web@{IMAGE}"
OTHER = Digest.of(b"another")


def container(image: str = "registry.example/web:1", digest: Digest = IMAGE) -> ContainerState:
    return ContainerState(name="web", image=image, image_id=f"registry.example/web@{digest}")


def pod(name: str = "web-1") -> PodFacts:
    return PodFacts(uid=f"uid-{name}", namespace="shop", name=name, node="node1", labels=(), workload=WEB, revision="r1")


@dataclass
class Verifier:
    """Opens what its test says; where `problem` is one, nothing can be verified."""

    problem: str = ""
    opened: dict[bytes, Opened] = field(default_factory=dict)
    asked: list[tuple[Signatory, ...]] = field(default_factory=list)

    def check(self) -> None:
        if self.problem:
            raise PermanentError(self.problem, code=CANNOT_VERIFY)

    def open_bundle(self, unverified: bytes, accepted: Sequence[Signatory]) -> Opened:
        self.check()
        self.asked.append(tuple(accepted))
        if unverified not in self.opened:
            raise TrustError("it is by somebody else")
        return self.opened[unverified]


@dataclass
class Shop:
    """A cluster's pods and its registry, as a test wants them."""

    pods: list[tuple[PodFacts, Sequence[ContainerState]]] = field(default_factory=lambda: [(pod(), [container()])])
    policies: tuple[Policy, ...] = (POLICY,)
    signatures: dict[str, list[UnverifiedSignature]] = field(default_factory=dict)
    revoked: dict[str, str] = field(default_factory=dict)
    records: tuple[RevisionRecord, ...] = ()
    is_up: bool = True
    asked: list[str] = field(default_factory=list)
    held: dict[Cause, list[Matter]] = field(default_factory=dict)
    now: float = 1000.0
    verifier: Verifier = field(default_factory=Verifier)
    contradicted: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.trust = ImageTrust(
            pods=lambda: self.pods,
            policies=lambda: self.policies,
            fetch=self.fetch,
            revoked=lambda: self.revoked,
            revisions=lambda workload: self.records,
            identities=self.verifier,
            contradicted=lambda: self.contradicted,
        )

    @contextmanager
    def fetch(self, reference: str) -> Iterator[Iterator[UnverifiedSignature]]:
        self.asked.append(reference)
        if not self.is_up:
            raise TemporaryError("the registry cannot be reached")
        yield iter(self.signatures.get(reference, []))

    def look(self, after_s: float = 0.0) -> dict[Cause, list[str]]:
        """What is held after another round."""
        self.now += after_s
        self.trust.look(lambda cause, matters: self.held.__setitem__(cause, list(matters)), threading.Event(), lambda: self.now)
        return {cause: [one.text for one in matters] for cause, matters in self.held.items() if matters}


def test_an_unsigned_image_is_held_against_its_workload_and_a_signature_heals_it() -> None:
    shop = Shop()
    (text,) = shop.look()[Cause.IMAGE_TRUST]
    assert text == f"policy signed wants image {NAME} signed: it has no signature"
    (matter,) = shop.held[Cause.IMAGE_TRUST]
    assert (matter.subject, matter.pods, matter.nodes) == (WEB, ("web-1",), ("node1",))
    shop.signatures[NAME] = [SIMPLE]
    assert shop.look(1.0)[Cause.IMAGE_TRUST], "not asked again yet"
    assert shop.look(UNSIGNED_S) == {}


def test_an_image_that_a_trusted_key_described_otherwise_than_it_is_is_held_against_who_runs_it_whatever_policies_want() -> None:
    shop = Shop(policies=(), contradicted={NAME: "it is not its own", f"elsewhere@{IMAGE}": "nobody runs this"})
    assert shop.look() == {Cause.IMAGE_TRUST: ["it is not its own"]}
    (matter,) = shop.held[Cause.IMAGE_TRUST]
    assert (matter.subject, matter.pods, matter.nodes) == (WEB, ("web-1",), ("node1",))
    shop.contradicted.clear()
    assert shop.look(1.0) == {}


def test_a_signed_image_is_asked_about_rarely() -> None:
    shop = Shop(signatures={NAME: [BUNDLE]})
    for _ in range(10):
        assert shop.look(60.0) == {}
    assert shop.asked == [NAME]
    shop.look(SIGNED_S)
    assert shop.asked == [NAME, NAME]


def test_a_registry_out_of_reach_says_nothing_of_the_image_and_is_told_after_a_while() -> None:
    shop = Shop(is_up=False)
    assert shop.look() == {}
    assert shop.look(PATIENCE_S - 1) == {}
    (text,) = shop.look(1.0)[Cause.UNKNOWN]
    assert "could not be told: the registry cannot be reached" in text
    assert Cause.IMAGE_TRUST not in shop.look(LAST_RETRY_S)


def test_what_was_known_stands_while_the_registry_is_away() -> None:
    unsigned, signed = Shop(), Shop(signatures={NAME: [SIMPLE]})
    for shop in (unsigned, signed):
        shop.look()
        shop.is_up = False
    assert unsigned.look(SIGNED_S).keys() == {Cause.IMAGE_TRUST}
    assert signed.look(SIGNED_S) == {}


def test_a_revoked_key_counts_no_more_at_once_also_while_the_registry_is_away() -> None:
    for is_up in (True, False):
        shop = Shop(signatures={NAME: [SIMPLE]})
        assert shop.look() == {}
        shop.revoked, shop.is_up = {P256.id: "was revoked: stolen"}, is_up
        (text,) = shop.look(1.0)[Cause.IMAGE_TRUST]
        assert "was revoked: stolen" in text


def test_the_signature_of_another_image_does_not_do() -> None:
    name = f"registry.example/web@{OTHER}"
    shop = Shop(pods=[(pod(), [container(digest=OTHER)])], signatures={name: [SIMPLE]})
    (text,) = shop.look()[Cause.IMAGE_TRUST]
    assert f"it is the signature of {IMAGE}" in text


def test_pods_whose_policy_wants_no_signature_are_not_asked_about() -> None:
    for policies in ((), (Policy(name="plain"),), (replace(POLICY, mode=Mode.OFF),), (replace(POLICY, match_labels=(("app", "x"),)),)):
        shop = Shop(policies=policies)
        assert (shop.look(), shop.asked) == ({}, [])


def test_one_image_of_many_pods_is_one_matter_and_one_question() -> None:
    shop = Shop(pods=[(pod(f"web-{n}"), [container(), container()]) for n in range(30)])
    assert len(shop.look()[Cause.IMAGE_TRUST]) == 1
    assert shop.asked == [NAME]


def test_a_digest_in_the_specification_beats_what_a_node_says_it_pulled() -> None:
    lied = ContainerState(name="web", image=f"registry.example/web:1@{OTHER}", image_id=f"registry.example/web@{IMAGE}")
    assert image_to_check(lied) == f"registry.example/web@{OTHER}"
    assert image_to_check(container()) == NAME


def record(name: str, digest: Digest) -> RevisionRecord:
    return RevisionRecord(
        workload=WEB, name=name, uid=name, hash=name, number=1, images=(("web", f"node.says/web@{digest}"),), first_seen=0.0
    )


def test_revisions_to_go_back_to_are_asked_about_in_the_repository_that_the_pod_names() -> None:
    good, bad = record("good", IMAGE), record("bad", Digest.of(b"bad"))
    shop = Shop(pods=[(pod(), [container(digest=OTHER)])], signatures={NAME: [SIMPLE]}, records=(good, bad))
    assert not shop.trust.is_signed(good, POLICY), "nothing is known yet"
    shop.look()
    shop.look()
    assert shop.trust.is_signed(good, POLICY)
    assert not shop.trust.is_signed(bad, POLICY)
    assert shop.trust.is_signed(bad, Policy(name="plain"))
    assert all(one.startswith("registry.example/web@") for one in shop.asked)


def test_an_unsigned_image_is_one_incident_told_once_and_over_when_it_is_signed(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        running = cluster.world.add("web-1", "node1")
        shop = Shop(pods=[(cluster.world.pods[running.uid], [container()])])
        for _ in range(3):
            shop.look(UNSIGNED_S)
            cluster.flow.hold(Cause.IMAGE_TRUST, shop.held[Cause.IMAGE_TRUST])
        incident = cluster.wait_incident()
        assert (incident.cause, incident.workload.name) == (Cause.IMAGE_TRUST, "web")
        shop.signatures[NAME] = [SIMPLE]
        shop.look(UNSIGNED_S)
        cluster.flow.hold(Cause.IMAGE_TRUST, shop.held[Cause.IMAGE_TRUST])
        cluster.wait_incident(lambda one: one.state is IncidentState.RESOLVED)
        assert [one.kind.value for one in cluster.alerts()] == ["IncidentOpened", "IncidentResolved"]


WORKFLOW = Signatory(identity="https://forge.example/ci.yml@refs/tags/*", issuer="https://forge.example", name="forge")
BY_IDENTITY = replace(POLICY, signed_by=(WORKFLOW,))
BY_EITHER = replace(POLICY, signed_by=(WORKFLOW, *POLICY.signed_by))
KEYLESS = UnverifiedSignature(form="bundle", payload=b"keyless")


def state(
    kind: str = "https://sigstore.dev/cosign/sign/v1", image: Digest = IMAGE, payload_type: str = "application/vnd.in-toto+json"
) -> Opened:
    statement = {"_type": "https://in-toto.io/Statement/v1", "predicateType": kind, "subject": [{"digest": {"sha256": image.hex}}]}
    return Opened(signer="the workflow", payload_type=payload_type, payload=json.dumps(statement).encode())


@pytest.mark.parametrize("policy", [BY_IDENTITY, BY_EITHER])
@pytest.mark.parametrize("kind", ["https://sigstore.dev/cosign/sign/v1", "https://slsa.dev/provenance/v1"])
def test_an_image_that_an_accepted_identity_signed_is_signed(policy: Policy, kind: str) -> None:
    shop = Shop(policies=(policy,), signatures={NAME: [KEYLESS]}, verifier=Verifier(opened={KEYLESS.payload: state(kind)}))
    assert shop.look() == {}
    assert shop.verifier.asked == [(replace(WORKFLOW, name=""),)]


@pytest.mark.parametrize("policy", [BY_IDENTITY, BY_EITHER])
@pytest.mark.parametrize(
    "opened",
    [None, state(image=OTHER), state("https://cosign.sigstore.dev/attestation/v1"), state(payload_type="text/plain")],
    ids=["somebody else", "another image", "another attestation", "another type"],
)
def test_what_is_not_the_signature_of_this_image_by_that_identity_does_not_do(policy: Policy, opened: Opened | None) -> None:
    verifier = Verifier(opened={KEYLESS.payload: opened} if opened else {})
    shop = Shop(policies=(policy,), signatures={NAME: [KEYLESS]}, verifier=verifier)
    (text,) = shop.look()[Cause.IMAGE_TRUST]
    assert "its signature does not count" in text


@pytest.mark.parametrize("policy", [BY_IDENTITY, BY_EITHER])
@pytest.mark.parametrize("signatures", [[], [KEYLESS]])
def test_where_identities_cannot_be_verified_that_is_told_at_once_and_nothing_is_called_signed_or_unsigned(
    policy: Policy, signatures: list[UnverifiedSignature]
) -> None:
    verifier = Verifier(problem="install the extra", opened={KEYLESS.payload: state()})
    shop = Shop(policies=(policy,), signatures={NAME: signatures}, verifier=verifier)
    (text,) = shop.look()[Cause.UNKNOWN]
    assert "could not be told: install the extra" in text
    assert not shop.held[Cause.IMAGE_TRUST] and not shop.trust.is_signed(record("web", IMAGE), policy)
    verifier.problem = ""
    assert shop.look(LAST_RETRY_S).keys() == ({Cause.IMAGE_TRUST} if not signatures else set())


def test_a_key_beside_an_identity_is_enough_where_identities_cannot_be_verified() -> None:
    shop = Shop(policies=(BY_EITHER,), signatures={NAME: [KEYLESS, SIMPLE]}, verifier=Verifier(problem="install the extra"))
    assert shop.look() == {}
