"""The append-only log: leaves in, a signed checkpoint over all of them out.

What `append` returned is durable: leaves and checkpoint are stored in one transaction before it returns. Where the caller has opened a
larger one, that is so when it ends, and what is rolled back was never in the log. Nothing is ever changed or taken away. The log signs only
what continues the tree it signed last; a store that does not fit that tree is refused for good.
"""

from __future__ import annotations

from collections.abc import Sequence

from intact.model.errors import TrustError
from intact.model.merkle import Frontier, hash_leaf

from .note import Checkpoint, NoteKey, open_checkpoint, sign_checkpoint
from .ports import Head, LeafStore, Row, Signer
from .record import Leaf, encode_leaf
from .steps import record_key_event

_EMPTY = Head(frontier=Frontier(), checkpoint=b"")


class AuditLog:
    """One log. Several threads may append; another process that appends too is noticed, and its leaves are continued.

    `retired` are the keys that signed earlier checkpoints.
    """

    def __init__(self, store: LeafStore, *, key: NoteKey, signer: Signer, now: float, retired: Sequence[NoteKey] = ()) -> None:
        """Opens the log, or begins it with a leaf that names its key. Raises TrustError if the store is not what was signed last."""
        self._store = store
        self._key = key
        self._signer = signer
        self._trusted = (key, *retired)
        self._known = _EMPTY
        with store.transaction():
            if self._load().size == 0:
                self.append([record_key_event(purpose="audit", verb="LogBegun", key=str(key), now=now)])
            elif open_checkpoint(self._known.checkpoint, self._trusted)[1].public != key.public:
                self.append([record_key_event(purpose="audit", verb="KeyRotated", key=str(key), now=now)])

    @property
    def key(self) -> NoteKey:
        """What a verifier must pin."""
        return self._key

    @property
    def size(self) -> int:
        return self._load().size

    def append(self, leaves: Sequence[Leaf]) -> Checkpoint:
        """Adds leaves in order and returns the checkpoint that covers them; durable on return.

        Raises TemporaryError if they could not be stored (then none was), InputError if a leaf cannot be encoded.
        """
        rows = [_row(leaf) for leaf in leaves]
        with self._store.transaction():
            before = self._load()
            if not rows:
                return Checkpoint(origin=self._key.name, size=before.size, root=before.root)
            after = before.extend(hash_leaf(row.data) for row in rows)
            checkpoint = Checkpoint(origin=self._key.name, size=after.size, root=after.root)
            self._store.append(rows=rows, head=Head(frontier=after, checkpoint=sign_checkpoint(checkpoint, self._key, self._signer)))
        return checkpoint

    def _load(self) -> Frontier:
        """1. Read the head. 2. Its checkpoint is signed by one of our keys. 3. Its frontier is the tree the checkpoint signed."""
        # 1
        head = self._store.head()
        if head in (self._known, _EMPTY):
            return head.frontier
        # 2
        checkpoint, _ = open_checkpoint(head.checkpoint, self._trusted)
        # 3
        if (checkpoint.size, checkpoint.root) != (head.frontier.size, head.frontier.root):
            raise TrustError(
                f"the stored audit log has {head.frontier.size} leaves and another root than its checkpoint of {checkpoint.size}",
                code="AuditLog",
                hint="somebody altered the store: keep it as evidence, and begin a new log",
            )
        self._known = head
        return head.frontier


def _row(leaf: Leaf) -> Row:
    return Row(data=encode_leaf(leaf), at=leaf.at, kind=leaf.kind, node=leaf.node, workload=leaf.workload, incident=leaf.incident)
