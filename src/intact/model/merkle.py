"""Merkle trees of RFC 6962 §2.1 with SHA-256: roots, inclusion and consistency proofs, and their verification (RFC 9162 §2.1.3–2.1.4).

In: leaves, or their hashes; out: 32-byte hashes. Never keeps a leaf. Proofs need the hashes of all leaves; appending needs only a
`Frontier`, which is as large as the tree is high.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from .errors import InputError, TrustError

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256().digest()
"""The root of a tree without leaves: MTH({}) = SHA-256()."""


def hash_leaf(leaf: bytes | memoryview) -> bytes:
    """SHA-256(0x00 || leaf): the prefix keeps a leaf from being passed off as an inner node."""
    digest = hashlib.sha256(b"\x00")
    digest.update(leaf)
    return digest.digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def merkle_root(leaves: Iterable[bytes | memoryview]) -> bytes:
    """The root over `leaves`, in one pass and in memory of the tree's height."""
    return root_of_hashes(map(hash_leaf, leaves))


def root_of_hashes(leaf_hashes: Iterable[bytes]) -> bytes:
    """The root of the tree whose leaves have these hashes."""
    return Frontier().extend(leaf_hashes).root


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """The right edge of a tree of `size` leaves: the roots of its complete subtrees, largest first, one for each bit set in `size`.

    Enough to append and to compute the root; not enough to prove anything.
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.peaks) != self.size.bit_count() or any(len(peak) != HASH_BYTES for peak in self.peaks):
            raise InputError(f"not the frontier of a Merkle tree of {self.size} leaves: {len(self.peaks)} peaks")

    def append(self, leaf_hash: bytes) -> Self:
        """The frontier after one more leaf."""
        return self.extend((leaf_hash,))

    def extend(self, leaf_hashes: Iterable[bytes]) -> Self:
        """The frontier after more leaves, in order."""
        size, peaks = self.size, list(self.peaks)
        for node in leaf_hashes:
            bits = size
            while bits & 1:
                node = hash_node(peaks.pop(), node)
                bits >>= 1
            peaks.append(node)
            size += 1
        return type(self)(size=size, peaks=tuple(peaks))

    @property
    def root(self) -> bytes:
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1]
        for peak in self.peaks[-2::-1]:
            root = hash_node(peak, root)
        return root


def prove_inclusion(index: int, leaf_hashes: Sequence[bytes]) -> tuple[bytes, ...]:
    """The audit path of leaf `index` in the tree of all `leaf_hashes` (RFC 6962 §2.1.1), from the leaf's sibling up.

    Raises InputError if there is no such leaf.
    """
    if not 0 <= index < len(leaf_hashes):
        raise InputError(f"the tree of {len(leaf_hashes)} leaves has no leaf {index}")
    path: list[bytes] = []
    low, high = 0, len(leaf_hashes)
    while high - low > 1:
        middle = low + _left_size(high - low)
        if index < middle:
            path.append(root_of_hashes(leaf_hashes[middle:high]))
            high = middle
        else:
            path.append(root_of_hashes(leaf_hashes[low:middle]))
            low = middle
    return tuple(reversed(path))


def prove_consistency(old_size: int, leaf_hashes: Sequence[bytes]) -> tuple[bytes, ...]:
    """The proof that the tree of the first `old_size` leaves is a prefix of the tree of all (RFC 6962 §2.1.2).

    Empty where nothing needs proving: the trees are the same, or the old one is empty. Raises InputError if the old tree is the larger one.
    """
    if not 0 <= old_size <= len(leaf_hashes):
        raise InputError(f"a tree of {len(leaf_hashes)} leaves was never one of {old_size}")
    if old_size in (0, len(leaf_hashes)):
        return ()
    proof: list[bytes] = []
    low, high, whole = 0, len(leaf_hashes), True
    while high != old_size:
        middle = low + _left_size(high - low)
        if old_size <= middle:
            proof.append(root_of_hashes(leaf_hashes[middle:high]))
            high = middle
        else:
            proof.append(root_of_hashes(leaf_hashes[low:middle]))
            low, whole = middle, False
    if not whole:
        proof.append(root_of_hashes(leaf_hashes[low:high]))
    return tuple(reversed(proof))


def verify_inclusion(*, index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Raises TrustError unless `proof` shows `leaf_hash` at `index` of the tree of `size` leaves with `root` (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        raise TrustError(f"the tree of {size} leaves has no leaf {index}", code="MerkleInclusion")
    sides, node = _list_sides(index, size - 1), leaf_hash
    if len(proof) != len(sides):
        raise TrustError(f"the inclusion proof of leaf {index} has {len(proof)} hashes instead of {len(sides)}", code="MerkleInclusion")
    for sibling, is_left in zip(proof, sides, strict=True):
        node = hash_node(sibling, node) if is_left else hash_node(node, sibling)
    if node != root:
        raise TrustError(f"leaf {index} is not in the tree of {size} leaves with root {root.hex()}", code="MerkleInclusion")


def verify_consistency(*, old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Raises TrustError unless `proof` shows that the old tree is a prefix of the tree `size`, `root` (RFC 9162 §2.1.4.2)."""
    if not 0 <= old_size <= size:
        raise TrustError(f"the tree shrank from {old_size} to {size} leaves", code="MerkleConsistency")
    if old_size in (0, size):
        if proof or old_root != (EMPTY_ROOT if old_size == 0 else root):
            raise TrustError(f"the trees of {old_size} and {size} leaves are not consistent", code="MerkleConsistency")
        return
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise TrustError("the consistency proof is empty", code="MerkleConsistency")
    position, last = old_size - 1, size - 1
    while position & 1:
        position >>= 1
        last >>= 1
    old_node, *siblings = path
    sides, node = _list_sides(position, last), old_node
    if len(siblings) != len(sides):
        raise TrustError(f"the consistency proof has {len(siblings)} hashes instead of {len(sides)}", code="MerkleConsistency")
    for sibling, is_left in zip(siblings, sides, strict=True):
        old_node = hash_node(sibling, old_node) if is_left else old_node
        node = hash_node(sibling, node) if is_left else hash_node(node, sibling)
    if old_node != old_root or node != root:
        raise TrustError(f"the tree of {size} leaves does not continue the one of {old_size}", code="MerkleConsistency")


def _list_sides(position: int, last: int) -> list[bool]:
    """On the way up from the node `position` of a level whose last node is `last`: whether each sibling stands to the left (RFC 9162
    §2.1.3.2 and §2.1.4.2, the loop of both)."""
    sides = []
    while last:
        is_left = bool(position & 1) or position == last
        sides.append(is_left)
        while is_left and not position & 1 and position:
            position >>= 1
            last >>= 1
        position >>= 1
        last >>= 1
    return sides


def _left_size(size: int) -> int:
    """The largest power of two smaller than `size` (RFC 6962 §2.1: k < n <= 2k)."""
    return 1 << ((size - 1).bit_length() - 1)
