"""Baselines kept between runs, and given out only if they verify.

In: baselines, or names. Out: baselines whose tables lie where the store has them. What the store signed itself keeps the grade it was
stored with; what came signed by a trusted key keeps its envelope, with a receipt of when it was taken in, and is SIGNED. A table's root is
recomputed when it is first opened, and again once somebody wrote where it lies; an open table is shared by all baselines that have it.
Never touches a disk: `ports.BaselineFiles` does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from weakref import WeakValueDictionary

from intact.model.digest import SHA256, Algorithms, Digest
from intact.model.errors import InputError, TrustError
from intact.model.layer import Baseline, Grade, LayerTable

from .collect import Harvest, collect
from .document import bind_tables
from .ports import BaselineFiles, StoredBaseline
from .receipt import open_receipt, seal_receipt
from .signing import PublicKey, Signer, open_envelope, seal_envelope
from .statement import Statement, decode_statement, encode_statement
from .table import MappedTable, encode_table, reopen_table
from .trust import NOBODY, TrustRoot

MAX_PROVEN = 4096
"""Tables of which it is remembered in which state they were proven: the least recently opened are forgotten, and proven again."""


class BaselineStore:
    """Safe to share between threads if its files are."""

    def __init__(
        self,
        files: BaselineFiles,
        *,
        signer: Signer,
        retired: Callable[[], Sequence[PublicKey]] = tuple,
        trust: Callable[[], TrustRoot] = lambda: NOBODY,
        renews: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`signer`: the store's own key; `retired`: those that were it before. `trust`: whose signatures are accepted beside it, asked anew
        each time. `renews`: what was taken in before some key was revoked is refused, so that it is fetched again from who knows better."""
        self._files = files
        self._signer = signer
        self._retired, self._trust, self._renews, self._clock = retired, trust, renews, clock
        self._tables: WeakValueDictionary[Digest, MappedTable] = WeakValueDictionary()
        self._proven: dict[Digest, bytes] = {}
        self._lock = threading.Lock()

    def put(self, baseline: Baseline, *, envelope: bytes | None = None) -> None:
        """Stores it, all or nothing; one of the same key is replaced. `envelope`: the signed one it came with.

        Raises TrustError if the envelope does not verify or is another baseline's, TemporaryError if the disk is full.
        """
        if envelope is None:
            if baseline.grade is Grade.SIGNED:
                raise InputError("a signed baseline is stored with the envelope that makes it one", code="Envelope")
            envelope = seal_envelope(encode_statement(baseline), [self._signer])
        statement, grade = self._believe(envelope)
        if grade is Grade.SIGNED:
            envelope = seal_receipt(envelope, self._clock(), self._trust().revoked_ids, self._signer)
        bind_tables(statement, baseline.layers, grade)
        tables = {
            layer.root: layer.data if isinstance(layer, MappedTable) else memoryview(encode_table(layer)) for layer in baseline.layers
        }
        self._files.put(
            StoredBaseline(
                key=statement.key,
                aliases=statement.aliases,
                diff_ids=tuple(dict.fromkeys(claim.diff_id for claim in statement.layers)),
                table_roots=tuple(dict.fromkeys(claim.root for claim in statement.layers)),
                envelope=envelope,
                platform=statement.platform,
            ),
            tables,
        )

    def get(self, name: str, platform: str = "") -> Baseline | None:
        """By key (`sha256:…`) or any alias; None if it is not there. An alias that several platforms share, as an index's digest is, means
        the one of `platform`, and none if that is not said: a node of one platform is never held against another's image.

        Raises TrustError if what is there does not verify, InputError if it is damaged; both mean: build it again.
        """
        stored = self._files.find(name, platform)
        return self._load(stored, name, *self._believe(stored.envelope)) if stored is not None else None

    def find_layer(self, diff_id: Digest, algorithms: Algorithms = SHA256) -> LayerTable | None:
        """A layer's table out of a baseline that verifies and was computed here, its files known by `algorithms`: what ingest need not read
        again."""
        for stored in self._files.find_by_layer(diff_id):
            try:
                statement, grade = self._believe(stored.envelope)
                if grade is not Grade.VERIFIED:
                    continue  # another's word: good for that image alone, so that nothing of it stays when its key is revoked
                baseline = self._load(stored, str(stored.key), statement, grade)
            except (TrustError, InputError):
                continue  # `get` tells whoever asks for that image; this layer is simply read anew
            found = (layer for layer in baseline.layers if layer.diff_id == diff_id and layer.algorithms in (None, algorithms))
            if (table := next(found, None)) is not None:
                return table
        return None

    def signers(self, key: Digest) -> tuple[str, ...]:
        """The ids of the keys, beside the store's own, whose signatures count on what is stored of `key`; empty where it is not there or
        does not verify."""
        stored = self._files.find(str(key))
        try:
            return () if stored is None else self._judge(stored.envelope)[1]
        except (TrustError, InputError):
            return ()

    def keys(self) -> tuple[Digest, ...]:
        """The keys of all stored baselines, sorted; they may still fail to verify."""
        return self._files.keys()

    def mark_used(self, key: Digest) -> None:
        """Somebody needs it now: who collects what nobody needs, in this process or another, leaves it. Raises as `collect` does."""
        self._files.mark_used([str(key)], self._clock())

    def collect(self, needed: Collection[str], now: float, *, at_most_bytes: int | None = None) -> Harvest:
        """Removes what nobody needs any more (`collect`). Raises TemporaryError and PermanentError of the place it lies in."""
        return collect(self._files, needed=needed, now=now, at_most_bytes=at_most_bytes)

    def _load(self, stored: StoredBaseline, name: str, statement: Statement, grade: Grade) -> Baseline:
        if statement.key != stored.key or name not in (str(statement.key), *statement.aliases):
            raise TrustError(f"the stored baseline of {name} is another image's", code="StoreMismatch", hint=_REBUILD)
        return bind_tables(statement, [self._open_table(claim.root) for claim in statement.layers], grade)

    def _believe(self, envelope: bytes) -> tuple[Statement, Grade]:
        """The statement of a signed envelope. What the store signed is worth what it was worth then, everything else its signature."""
        statement, signers = self._judge(envelope)
        return statement, Grade.SIGNED if signers else statement.grade

    def _judge(self, envelope: bytes) -> tuple[Statement, tuple[str, ...]]:
        """The statement of a signed envelope, and who beside the store itself counts as its signer.

        1. A receipt is the store's own, or the envelope has none. 2. What it was given for is judged by the keys that counted then, what is
        new by those that count now; a key that was revoked since counts for neither. 3. Who counts is named.
        """
        own = (self._signer.public, *self._retired())
        root = self._trust()
        receipt = open_receipt(envelope, own)  # 1
        if receipt is None:
            trust = root.for_new(self._clock())  # 2
            opened = open_envelope(envelope, trusted=(*own, *trust.keys), refused=trust.refused)
        else:
            if self._renews and not root.revoked_ids <= receipt.revoked:
                raise TrustError("it was taken in before a key was revoked", code="RevokedSince", hint="it is fetched again")
            trust = root.for_kept(receipt.accepted_at)
            opened = open_envelope(receipt.envelope, trusted=trust.keys, refused=trust.refused)
        statement = decode_statement(opened.payload)
        ids = {key.id for key in own}
        return statement, tuple(one.key_id for one in opened.signatures if one.counts and one.key_id not in ids)  # 3

    def _open_table(self, root: Digest) -> MappedTable:
        with self._lock:
            known = self._tables.get(root)
        if known is not None:
            return known
        try:
            table = self._read_table(root, anew=False)
        except (InputError, TrustError):  # perhaps only a near copy is damaged
            table = self._read_table(root, anew=True)
        with self._lock:
            return self._tables.setdefault(root, table)

    def _read_table(self, root: Digest, *, anew: bool) -> MappedTable:
        file = self._files.open_table(root, anew=anew)
        if file is None:
            raise InputError(f"the stored table {root} is missing", code="StoreDamaged", hint=_REBUILD)
        with self._lock:
            proven = self._proven.pop(root, None)
        try:
            table = reopen_table(file.data, root, is_untouched=file.state is not None and file.state == proven)
        except TrustError as error:
            raise TrustError(f"the stored table {root} is another one", code="StoreMismatch", hint=_REBUILD) from error
        if file.state is not None:
            with self._lock:
                self._proven[root] = file.state
                if len(self._proven) > MAX_PROVEN:
                    del self._proven[next(iter(self._proven))]
        return table


_REBUILD = "the store was altered or damaged: build the baseline again"
