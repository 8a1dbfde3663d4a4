"""Baselines kept between runs, and given out only if they verify.

In: baselines, or names. Out: baselines whose tables lie where the store has them. What the store signed itself keeps the grade it was
stored with; what came signed by a trusted key keeps its envelope and is SIGNED. A table's root is recomputed when it is first opened, and
the table is shared by all baselines that have it. Never touches a disk: `ports.BaselineFiles` does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from weakref import WeakValueDictionary

from intact.model.digest import Digest
from intact.model.errors import InputError, TrustError
from intact.model.layer import Baseline, Grade, LayerTable

from .document import bind_tables
from .ports import BaselineFiles, StoredBaseline
from .signing import PublicKey, Signer, open_envelope, seal_envelope
from .statement import Statement, decode_statement, encode_statement
from .table import MappedTable, encode_table, reopen_table


class BaselineStore:
    """Safe to share between threads if its files are."""

    def __init__(self, files: BaselineFiles, *, signer: Signer, trusted: Callable[[], Sequence[PublicKey]] = tuple) -> None:
        """`signer`: the store's own key. `trusted`: whose signatures are accepted beside it, asked anew each time."""
        self._files = files
        self._signer = signer
        self._trusted = trusted
        self._tables: WeakValueDictionary[Digest, MappedTable] = WeakValueDictionary()
        self._lock = threading.Lock()

    def put(self, baseline: Baseline, *, envelope: bytes | None = None) -> None:
        """Stores it, all or nothing; one of the same key is replaced. `envelope`: the signed one it came with.

        Raises TrustError if the envelope does not verify or is another baseline's, TemporaryError if the disk is full.
        """
        if envelope is None:
            envelope = seal_envelope(encode_statement(baseline), [self._signer])
        statement, grade = self._believe(envelope)
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
            ),
            tables,
        )

    def get(self, name: str) -> Baseline | None:
        """By key (`sha256:…`) or any alias; None if it is not there.

        Raises TrustError if what is there does not verify, InputError if it is damaged; both mean: build it again.
        """
        stored = self._files.find(name)
        return self._load(stored, name) if stored is not None else None

    def find_layer(self, diff_id: Digest) -> LayerTable | None:
        """A layer's table out of a baseline that verifies and is at least VERIFIED: what ingest need not read again."""
        for stored in self._files.find_by_layer(diff_id):
            try:
                baseline = self._load(stored, str(stored.key))
            except (TrustError, InputError):
                continue  # `get` tells whoever asks for that image; this layer is simply read anew
            if baseline.grade >= Grade.VERIFIED:
                return next((layer for layer in baseline.layers if layer.diff_id == diff_id), None)
        return None

    def keys(self) -> tuple[Digest, ...]:
        """The keys of all stored baselines, sorted; they may still fail to verify."""
        return self._files.keys()

    def _load(self, stored: StoredBaseline, name: str) -> Baseline:
        statement, grade = self._believe(stored.envelope)
        if statement.key != stored.key or name not in (str(statement.key), *statement.aliases):
            raise TrustError(f"the stored baseline of {name} is another image's", code="StoreMismatch", hint=_REBUILD)
        return bind_tables(statement, [self._open_table(claim.root) for claim in statement.layers], grade)

    def _believe(self, envelope: bytes) -> tuple[Statement, Grade]:
        """The statement of a signed envelope. What the store signed is worth what it was worth then, everything else its signature."""
        own = self._signer.public
        opened = open_envelope(envelope, trusted=(own, *self._trusted()))
        statement = decode_statement(opened.payload)
        return statement, statement.grade if opened.signer == own.id else Grade.SIGNED

    def _open_table(self, root: Digest) -> MappedTable:
        with self._lock:
            known = self._tables.get(root)
        if known is not None:
            return known
        data = self._files.open_table(root)
        if data is None:
            raise InputError(f"the stored table {root} is missing", code="StoreDamaged", hint=_REBUILD)
        try:
            table = reopen_table(data, root)
        except TrustError as error:
            raise TrustError(f"the stored table {root} is another one", code="StoreMismatch", hint=_REBUILD) from error
        with self._lock:
            return self._tables.setdefault(root, table)


_REBUILD = "the store was altered or damaged: build the baseline again"
