"""Images that a policy wants signed: looked up in their registry, and what is held against workloads whose image is not.

In: the pods there are, the policies, and signatures as a registry has them. Out: matters of the cause ImageTrust, one for each workload and
image, which stand until the image is signed; and of the cause Unknown, where it could not be told for a while.

1. What must be signed: every container of every pod whose policy names keys or identities, by the digest that its pod names, or else that
   its node pulled.
2. What is due is asked of the registry of the pod's own repository. A signature that counts is believed for `SIGNED_S`; that there is none
   is asked again soon, so that signing heals. What cannot be asked leaves the last answer standing: it is never called unsigned.
3. A key that was revoked since counts no more, whatever was found before.
4. All that stands is held. What was never answered is told as Unknown after `PATIENCE_S`; at once if waiting does not help: identities
   that cannot be verified here.
5. Held, too, whatever policies want: images to which a trusted key attached a baseline that is not theirs. Its signer errs, or somebody
   else has the key.

Never acts. Signatures bind a digest, so that one that was found in one repository is true in every other; that one has none says nothing of
others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

import structlog

from intact.act.ports import ContainerState
from intact.adapters.cluster.cache import ClusterCache, facts_of
from intact.baseline.image_signature import Attested, find_signer
from intact.baseline.ports import CANNOT_VERIFY, IdentityVerifier, UnverifiedSignature
from intact.baseline.signing import PublicKey
from intact.decide.govern import govern
from intact.model.digest import Digest
from intact.model.errors import IntactError
from intact.model.finding import Level
from intact.model.incident import Matter, PodFacts, Workload
from intact.model.policy import Cause, Mode, Policy, Signatory
from intact.model.revision import RevisionRecord

from .images import image_to_read, join_reference

log = structlog.get_logger()

LOOK_EVERY_S = 5.0
SIGNED_S = 3600.0
UNSIGNED_S = 60.0
FIRST_RETRY_S = 5.0
LAST_RETRY_S = 300.0
PATIENCE_S = 600.0
"""A registry that is away for so long is told to people, once."""
MAX_PODS_NAMED = 20

Keys = tuple[Signatory, ...]
"""Whose signatures a policy accepts, without what people call them: sorted."""
Fetch = Callable[[str], AbstractContextManager[Iterator[UnverifiedSignature]]]
Hold = Callable[[Cause, Iterable[Matter]], None]


@dataclass(slots=True)
class _Answer:
    """What is known of one image and some keys. `attested` None: nobody has answered yet."""

    since: float
    attested: Attested | None = None
    due: float = 0.0
    pause_s: float = FIRST_RETRY_S
    problem: str = ""
    is_hopeless: bool = False
    """Asking again will not help before people changed something here."""


@dataclass(slots=True, kw_only=True)
class _Use:
    """One workload's use of one image."""

    workload: Workload
    reference: str
    pods: set[str] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)


@dataclass(slots=True, kw_only=True)
class _Demand(_Use):
    """One under a policy that wants it signed."""

    policy: Policy


class ImageTrust:
    """One thread calls `look`; `is_signed` from any. `pods` gives each pod with its containers that run; `fetch` the signatures that the
    registry has beside `HOST/REPO@sha256:…`; `revoked` which keys count no more and why; `identities` verifies
    signatures without a key; `contradicted` says which images a trusted key described otherwise than they are."""

    def __init__(
        self,
        *,
        pods: Callable[[], Iterable[tuple[PodFacts, Sequence[ContainerState]]]],
        policies: Callable[[], Sequence[Policy]],
        fetch: Fetch,
        revoked: Callable[[], dict[str, str]],
        revisions: Callable[[Workload], Iterable[RevisionRecord]] = lambda workload: (),
        identities: IdentityVerifier | None = None,
        contradicted: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._identities, self._contradicted = identities, contradicted
        self._pods, self._policies, self._fetch, self._revoked, self._revisions = pods, policies, fetch, revoked, revisions
        self._lock = threading.Lock()
        self._answers: dict[tuple[str, Keys], _Answer] = {}

    def run(self, hold: Hold, stop: threading.Event) -> None:
        while not stop.wait(LOOK_EVERY_S):
            try:
                self.look(hold, stop)
            except IntactError as error:
                log.error("image_trust_not_looked_at", reason=str(error))

    def look(self, hold: Hold, stop: threading.Event, clock: Callable[[], float] = time.time) -> None:
        """One round."""
        demands = self._collect()  # 1
        refused = self._revoked()
        wanted = {(reference, _keys(one.policy)) for one in demands for reference in self._references(one)}
        for reference, keys in sorted(wanted, key=lambda one: (one[0], [key.who for key in one[1]])):
            if not stop.is_set():
                self._ask(reference, keys, refused, clock())  # 2, 3
        self._forget(wanted)
        signed = self._find_signed()
        held = [matter for one in demands for matter in self._judge(one, signed, clock())]  # 4
        held += self._list_contradicted()  # 5
        for cause in (Cause.IMAGE_TRUST, Cause.UNKNOWN):
            hold(cause, [one for one in held if one.cause is cause])

    def _list_contradicted(self) -> list[Matter]:
        found = self._contradicted()
        uses: dict[tuple[Workload, str], _Use] = {}
        for pod, containers in self._pods() if found else ():
            for reference in {image_to_read(one) for one in containers} & found.keys():
                use = uses.setdefault((pod.workload, reference), _Use(workload=pod.workload, reference=reference))
                use.pods.add(pod.name)
                use.nodes.add(pod.node)
        return [_matter(one, Cause.IMAGE_TRUST, Level.HIGH, found[one.reference], about="baseline of ") for one in uses.values()]

    def is_signed(self, record: RevisionRecord, policy: Policy) -> bool:
        """Whether every image of a revision is known to be signed as `policy` wants it."""
        if not policy.signed_by:
            return True
        keys = _keys(policy)
        signed = self._find_signed()
        return bool(record.images) and all((_digest(image), keys) in signed for _, image in record.images)

    def _find_signed(self) -> set[tuple[Digest, Keys]]:
        """The images that are signed in some repository that was asked. That one has no signature of an image says nothing of others: who
        runs a copy of it must not have it called unsigned."""
        with self._lock:
            return {(_digest(reference), keys) for (reference, keys), one in self._answers.items() if one.attested and one.attested.signer}

    def _collect(self) -> list[_Demand]:
        policies = [one for one in self._policies() if one.signed_by]
        demands: dict[tuple[Workload, str], _Demand] = {}
        if not policies:
            return []
        every = self._policies()
        for pod, containers in self._pods():
            policy = govern(pod.namespace, pod.labels, every)
            if not policy.signed_by or policy.mode is Mode.OFF:
                continue
            for container in containers:
                reference = image_to_check(container)
                if not reference:
                    continue
                demand = demands.setdefault((pod.workload, reference), _Demand(workload=pod.workload, reference=reference, policy=policy))
                demand.pods.add(pod.name)
                demand.nodes.add(pod.node)
        return list(demands.values())

    def _references(self, demand: _Demand) -> Iterator[str]:
        """The image, and while it is not trusted those a rollback could go back to: asked of the repository that the pod names now."""
        yield demand.reference
        answer = self._answers.get((demand.reference, _keys(demand.policy)))
        if answer is not None and answer.attested is not None and not answer.attested.signer:
            repository = demand.reference.partition("@")[0]
            for record in self._revisions(demand.workload):
                yield from (f"{repository}@{image.partition('@')[2]}" for _, image in record.images)

    def _ask(self, reference: str, keys: Keys, refused: dict[str, str], now: float) -> None:
        with self._lock:
            answer = self._answers.setdefault((reference, keys), _Answer(since=now))
        signer = answer.attested.signer if answer.attested is not None else ""
        if now < answer.due and signer not in refused:
            return
        try:
            with self._fetch(reference) as signatures:
                found = find_signer(
                    signatures,
                    _digest(reference),
                    [PublicKey.from_pem(one.key.encode()) for one in keys if one.key],
                    refused,
                    identities=[one for one in keys if one.identity],
                    verifier=self._identities,
                )
        except IntactError as error:
            answer.problem, answer.due, answer.is_hopeless = str(error), now + answer.pause_s, error.code == CANNOT_VERIFY
            answer.pause_s = min(2 * answer.pause_s, LAST_RETRY_S)
            if signer in refused:
                answer.attested = Attested(signer="", why=f"its signature does not count: key {signer} {refused[signer]}")
            log.warning("image_signature_not_told", image=reference, reason=str(error))
            return
        if found != answer.attested:
            log.info("image_signature", image=reference, signer=found.signer, why=found.why)
        answer.attested, answer.problem, answer.pause_s = found, "", FIRST_RETRY_S
        answer.due = now + (SIGNED_S if found.signer else UNSIGNED_S)

    def _forget(self, wanted: set[tuple[str, Keys]]) -> None:
        with self._lock:
            self._answers = {place: answer for place, answer in self._answers.items() if place in wanted}

    def _judge(self, demand: _Demand, signed: set[tuple[Digest, Keys]], now: float) -> Iterator[Matter]:
        keys = _keys(demand.policy)
        answer = self._answers.get((demand.reference, keys))
        if answer is None or (_digest(demand.reference), keys) in signed:
            return
        wish = f"policy {demand.policy} wants image {demand.reference} signed"
        if answer.attested is not None:
            yield _matter(demand, Cause.IMAGE_TRUST, Level.HIGH, f"{wish}: {answer.attested.why}")
        elif answer.is_hopeless or now - answer.since >= PATIENCE_S:
            yield _matter(demand, Cause.UNKNOWN, Level.LOW, f"{wish}, and whether it is could not be told: {answer.problem}")


def list_running(cache: ClusterCache) -> Iterator[tuple[PodFacts, tuple[ContainerState, ...]]]:
    """Every pod that has not ended, with its containers whose image the runtime knows."""
    for pod in cache.all_pods():
        if not pod.finished:
            yield facts_of(pod), tuple(one for one in (*pod.init_containers, *pod.containers) if one.image_id)


def image_to_check(container: ContainerState) -> str:
    """`HOST/REPO@sha256:…`. A digest in the pod's specification is what everybody agreed to run; else what the node says it pulled."""
    name, at, digest = container.image.partition("@")
    return join_reference(name, digest) if at else image_to_read(container)


def _matter(use: _Use, cause: Cause, level: Level, text: str, *, about: str = "") -> Matter:
    return Matter(
        subject=use.workload,
        key=f"{about}{use.reference}",
        cause=cause,
        level=level,
        text=text,
        nodes=tuple(sorted(use.nodes))[:MAX_PODS_NAMED],
        pods=tuple(sorted(use.pods))[:MAX_PODS_NAMED],
    )


def _keys(policy: Policy) -> Keys:
    return tuple(sorted({replace(one, name="") for one in policy.signed_by}, key=lambda one: one.who))


def _digest(reference: str) -> Digest:
    return Digest.parse(reference.partition("@")[2])
