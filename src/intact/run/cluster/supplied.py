"""Baselines that people supply: declared as `ImageBaseline` objects, fetched from a registry, verified before use.

In: what is declared now. Out: the baselines that are accepted, and for each declaration whether it is and why not. The object is the truth:
what is kept here is only a copy, and goes when the object goes. A declaration is accepted if all of this holds:

1. The artifact's manifest has the digest that the declaration names, and its one blob is a baseline file of at most `MAX_FILE_BYTES`.
2. The blob has the size and the digest that the manifest states.
3. The file verifies as a whole (`baseline.document.load_document`): tables, roots, root of the whole; a signature by a trusted key must
   verify, and one by a revoked key counts for nothing.
4. It is of the image that the declaration names, and has the root that it names. Without a signature that counts, a root must be named:
   then the person who may write the object vouches for exactly this file.
5. It does not contradict what the cluster computed itself, from the image's own bytes.

Signed by a trusted key it is of grade SIGNED, otherwise SUPPLIED. The names that an unsigned file gives itself are dropped: it is found by
its key alone.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from mmap import mmap
from pathlib import Path
from typing import Any

import structlog

from intact.adapters.cluster.declared import DeclaredObjects
from intact.adapters.layout.names import parse_reference
from intact.adapters.registry.access import RegistryAccess
from intact.adapters.registry.artifact import Artifact, decode_blob
from intact.adapters.registry.referrers import download_baseline
from intact.adapters.registry.source import RegistrySource
from intact.adapters.store.baselines import BaselineDirectory
from intact.adapters.store.served import SqlServed
from intact.baseline.document import load_document, peek_envelope, split_document
from intact.baseline.signing import PublicKey, Signer
from intact.baseline.store import BaselineStore
from intact.baseline.trust import Trust, TrustRoot
from intact.compare.images import compare_images
from intact.model.digest import Digest
from intact.model.errors import InputError, IntactError, TemporaryError, TrustError
from intact.model.layer import Baseline, Grade

log = structlog.get_logger()

MAX_FILE_BYTES = 512 << 20
"""A million files are some 150 MB."""
MAX_STORED_BYTES = 4 << 30
"""Of all that is supplied: whoever may declare must not fill the disk of the controller."""
MAX_MANIFEST_BYTES = 64 << 10
FETCHED_WITHIN_S = 300.0
"""One declaration at a time: the next ones wait for no slow registry longer than this."""
LOOK_EVERY_S = 2.0
FIRST_RETRY_S = 5.0
LAST_RETRY_S = 300.0
VERIFY_AGAIN_S = 60.0
"""Whether the signer still counts is asked again this often."""
READ_SERVED_EVERY_S = 30.0
"""What other replicas gave out is read again this often."""
MAX_TOLD = 500
"""Withdrawn roots that nodes are told of."""
_ARTIFACT = re.compile(r"[^@\s]{1,400}@(sha(?:256|512):[0-9a-f]{64,128})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What a person declared: the baseline of the image `key` is in `artifact` (`repo@sha256:…`), and its root is `root`."""

    key: Digest
    artifact: str
    root: Digest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What became of a declaration: `grade` is None where it is refused, or not decided yet (`reason` says which)."""

    declaration: Declaration
    grade: Grade | None
    reason: str
    message: str = ""
    root: Digest | None = None


class SuppliedBaselines:
    """`run` works in a thread of its own; the rest from any. `own_of` gives what the cluster computed itself; `changed` is told each key of
    which something else is supplied than before."""

    def __init__(
        self,
        directory: Path,
        signer: Signer,
        *,
        served: SqlServed,
        access: RegistryAccess,
        trust: Callable[[], TrustRoot],
        retired: Callable[[], tuple[PublicKey, ...]],
    ) -> None:
        """Raises TemporaryError where what nodes were given cannot be read."""
        self._files = BaselineDirectory(directory)
        self._remembered = served
        self._served = served.read()
        self._read_served_at = 0.0
        self._store = BaselineStore(self._files, signer=signer, retired=retired, trust=trust)
        self._access, self._trust = access, trust
        self._lock = threading.Lock()
        self._judged: dict[Digest, Judgement] = {}
        self._again_at: dict[Digest, float] = {}
        self._pause_s: dict[Digest, float] = {}
        self._fetched: dict[Digest, Declaration] = {}

    def get(self, key: Digest) -> Baseline | None:
        """What is supplied for the image and accepted."""
        judged = self.judged(key)
        if judged is None or judged.grade is None:
            return None
        try:
            return self._store.get(str(key))
        except (TrustError, InputError) as error:
            log.error("supplied_baseline_refused", key=str(key), reason=str(error))
            return None

    def signers(self, key: Digest) -> tuple[str, ...]:
        """The ids of the trusted keys that signed what is supplied."""
        return self._store.signers(key)

    def judged(self, key: Digest) -> Judgement | None:
        """What became of the declaration for the image; None if there is none."""
        with self._lock:
            return self._judged.get(key)

    def has_served(self, root: Digest) -> bool:
        """Whether nodes may have been given a supplied baseline of this root: then it is the word of people, not of the node."""
        with self._lock:
            return root in self._served

    def withdrawn(self) -> tuple[tuple[Digest, Digest], ...]:
        """(key, root) of baselines that nodes may have been given and that are supplied no more, the latest last."""
        with self._lock:
            current = {judged.root for judged in self._judged.values() if judged.grade is not None}
            return tuple((key, root) for root, key in self._served.items() if root not in current)[-MAX_TOLD:]

    def run(
        self,
        declared: Callable[[], Iterable[Declaration]],
        own_of: Callable[[Digest], Baseline | None],
        changed: Callable[[Digest], None],
        stop: threading.Event,
    ) -> None:
        """Follows the declarations until `stop` is set."""
        while True:
            try:
                self.follow({one.key: one for one in declared()}, own_of, changed, time.time())
            except IntactError as error:  # the disk is full, for example: what was accepted before stays as it is
                log.error("supplied_baselines_not_followed", reason=str(error))
            if stop.wait(LOOK_EVERY_S):
                return

    def follow(
        self,
        declared: dict[Digest, Declaration],
        own_of: Callable[[Digest], Baseline | None],
        changed: Callable[[Digest], None],
        now: float,
    ) -> None:
        """Judges what is new or due again, and forgets what is not declared any more."""
        self._read_served(now)
        gone = {*self._files.keys(), *self._judged} - declared.keys()
        is_changed = bool(gone)
        for key in gone:
            with self._lock:
                was = self._judged.pop(key, None)
            self._files.remove_baseline(key, unused_since=float("inf"))
            self._again_at.pop(key, None)
            log.info("supplied_baseline_withdrawn", key=str(key))
            if was is None or was.grade is not None:
                changed(key)
        for key, one in declared.items():
            before = self._judged.get(key)
            if before is not None and before.declaration == one and now < self._again_at.get(key, 0.0):
                continue
            judgement = self._judge(one, own_of(key), now)
            if judgement.root is not None and not self.has_served(judgement.root):
                self._remember(key, judgement.root, now)
            with self._lock:
                self._judged[key] = judgement
            if before != judgement:
                log.info("supplied_baseline", key=str(key), reason=judgement.reason, message=judgement.message)
                changed(key)
                is_changed = True
        if is_changed:
            self._let_go()

    def _let_go(self) -> None:
        """Removes tables that nothing supplied has any more. Nobody else stores here, so none of them is about to be needed."""
        for table in self._files.list_tables():
            self._files.remove_table(table, stored_before=float("inf"))

    def _remember(self, key: Digest, root: Digest, now: float) -> None:
        """Before anybody is given it: so that it can be taken back after a restart too."""
        self._remembered.remember(root, key, now)
        with self._lock:
            self._served[root] = key

    def _read_served(self, now: float) -> None:
        if now < self._read_served_at:
            return
        served = self._remembered.read()
        with self._lock:
            self._served = served
        self._read_served_at = now + READ_SERVED_EVERY_S

    def _judge(self, one: Declaration, own: Baseline | None, now: float) -> Judgement:
        trust = self._trust().for_new(now)
        try:
            baseline = self._obtain(one, trust)
            check_own(baseline, own)  # 5
        except TemporaryError as error:
            pause_s = self._pause_s.get(one.key, FIRST_RETRY_S)
            self._pause_s[one.key] = min(2 * pause_s, LAST_RETRY_S)
            self._again_at[one.key] = now + pause_s
            return Judgement(declaration=one, grade=None, reason="Unreachable", message=str(error))
        except IntactError as error:
            self._again_at[one.key] = now + LAST_RETRY_S
            return Judgement(declaration=one, grade=None, reason=error.code or "Refused", message=str(error))
        self._pause_s.pop(one.key, None)
        self._again_at[one.key] = now + VERIFY_AGAIN_S
        who = "signed by a trusted key" if baseline.grade is Grade.SIGNED else "not signed: on the word of whoever declared it"
        return Judgement(declaration=one, grade=baseline.grade, reason="Accepted", message=who, root=baseline.root)

    def _obtain(self, one: Declaration, trust: Trust) -> Baseline:
        """Kept from before, if it is what is declared; fetched otherwise. Where the registry is out of reach, what was signed and has the
        root that is named serves too."""
        kept = self._kept(one)
        if kept is not None and (kept.source == _source(one) or self._fetched.get(one.key) == one):
            return kept
        try:
            fetched = self._fetch(one, trust)
        except TemporaryError:
            if kept is not None and kept.grade is Grade.SIGNED and one.root is not None:
                return kept
            raise
        self._fetched[one.key] = one
        return fetched

    def _kept(self, one: Declaration) -> Baseline | None:
        """What was fetched before and can be what is declared, if it still verifies."""
        try:
            kept = self._store.get(str(one.key))
        except (TrustError, InputError):
            return None
        if kept is None or (one.root is not None and kept.root != one.root):
            return None
        return kept if kept.grade is Grade.SIGNED or one.root is not None else None

    def _fetch(self, one: Declaration, trust: Trust) -> Baseline:
        match = _ARTIFACT.fullmatch(one.artifact)
        if match is None:
            raise InputError(f"{one.artifact[:200]!r} is not an artifact by digest", code="InvalidArtifact", hint="REPOSITORY@sha256:…")
        name = parse_reference(one.artifact)
        source = RegistrySource(name.host, name.repository, name.reference, access=self._access.within(FETCHED_WITHIN_S))
        try:
            with source.open(source.root()) as chunks:
                blob = decode_blob(_read(chunks, MAX_MANIFEST_BYTES))  # 1
            if (blob.size_bytes or 0) > MAX_FILE_BYTES:
                raise InputError(f"the file is larger than {MAX_FILE_BYTES >> 20} MiB", code="TooLarge")
            if sum(table.size_bytes for table in self._files.list_tables()) + (blob.size_bytes or 0) > MAX_STORED_BYTES:
                raise InputError(f"all that is supplied is larger than {MAX_STORED_BYTES >> 30} GiB", code="TooLarge")
            artifact = Artifact(subject=source.root(), blob=blob)
            with download_baseline(
                source.clients[-1], artifact, check_head=lambda head: peek_envelope(head) is not None, progress=lambda *_: None
            ) as document:  # 2
                baseline = verify_file(document, one, trust)  # 3, 4
                envelope = split_document(memoryview(document))[0] if baseline.grade is Grade.SIGNED else None
                self._store.put(baseline, envelope=envelope)
        finally:
            source.close()
        stored = self._store.get(str(one.key))
        if stored is None:
            raise TemporaryError(f"the baseline of {one.key} was stored and is gone")
        return stored


def read_declarations(declared: DeclaredObjects) -> list[Declaration]:
    """What people declared in ImageBaseline objects; those that the cluster only shows have nothing supplied."""
    found = []
    for _, one in declared.declared():
        key, supplied = read_key(one["spec"]), one["spec"].get("supplied")
        if key is None or not isinstance(supplied, dict):
            continue
        try:
            root = Digest.parse(str(supplied["root"])) if supplied.get("root") else None
        except InputError as error:
            log.error("declaration_refused", key=str(key), reason=str(error))
            continue
        found.append(Declaration(key=key, artifact=str(supplied.get("artifact", "")), root=root))
    return found


def read_key(spec: Mapping[str, Any]) -> Digest | None:
    """The image that an ImageBaseline is of; None for what the API server should not have taken."""
    try:
        return Digest.parse(str(spec.get("key", "")))
    except InputError:
        return None


def verify_file(unverified: memoryview | bytes | mmap, one: Declaration, trust: Trust) -> Baseline:
    """Steps 3 and 4. Raises InputError or TrustError with a code that says which."""
    baseline = load_document(unverified, trusted=trust.keys, refused=trust.refused, allow_unsigned=True)
    if baseline.key != one.key:
        raise TrustError(f"the file is the baseline of {baseline.key}", code="OtherImage")
    if one.root is not None and baseline.root != one.root:
        raise TrustError(f"the file has the root {baseline.root}, the declaration names {one.root}", code="RootMismatch")
    if baseline.grade is Grade.SIGNED:
        return baseline
    if one.root is None:
        raise TrustError(
            "no trusted key signed the file, and the declaration names no root", code="Unsigned", hint="name its root, or sign it"
        )
    return replace(baseline, grade=Grade.SUPPLIED, aliases=(), source=_source(one))


def check_own(baseline: Baseline, own: Baseline | None) -> None:
    """Step 5: raises TrustError if the cluster computed something else from the image's own bytes, or if that cannot be told, since files
    are known by another algorithm."""
    if own is None or own.grade is not Grade.VERIFIED or own.root == baseline.root:
        return
    stated, computed = baseline.algorithms.deciding, own.algorithms.deciding
    if stated != computed:
        why = f"the file has {stated}, the cluster computed {computed} from the image's own bytes: they cannot be compared"
        raise TrustError(why, code="OtherAlgorithm", hint=f"build it with --algorithm {computed}")
    if own.algorithms == baseline.algorithms or next(compare_images(own, baseline), None) is not None:
        raise TrustError(
            f"the cluster computed {own.root} from the image's own bytes, the file says {baseline.root}", code="ContradictsImage"
        )


def _source(one: Declaration) -> str:
    return f"supplied:{one.artifact}"


def _read(chunks: Iterable[bytes], limit_bytes: int) -> bytes:
    data = b""
    for chunk in chunks:
        data += chunk
        if len(data) > limit_bytes:
            raise InputError("the artifact's manifest is too large", code="TooLarge")
    return data
