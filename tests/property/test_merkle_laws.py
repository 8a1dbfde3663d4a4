"""Laws of the Merkle tree: every proof made verifies, and a proof of anything else never does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intact.model.errors import TrustError
from intact.model.merkle import (
    Frontier,
    hash_leaf,
    hash_node,
    merkle_root,
    prove_consistency,
    prove_inclusion,
    verify_consistency,
    verify_inclusion,
)

TREES = st.lists(st.binary(max_size=4), min_size=1, max_size=40)


def reference_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 §2.1, word for word."""
    if len(leaves) == 1:
        return hash_leaf(leaves[0])
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hash_node(reference_root(leaves[:k]), reference_root(leaves[k:]))


@given(TREES)
def test_the_root_is_the_recursive_definition_however_it_is_appended(leaves: list[bytes]) -> None:
    frontier = Frontier()
    for leaf in leaves:
        frontier = frontier.append(hash_leaf(leaf))
    assert frontier.root == merkle_root(leaves) == reference_root(leaves)


@given(TREES, st.data())
def test_inclusion_proofs_hold_for_their_leaf_and_for_nothing_else(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    hashes = [hash_leaf(leaf) for leaf in leaves]
    proof, root = prove_inclusion(index, hashes), merkle_root(leaves)
    verify_inclusion(index=index, size=len(leaves), leaf_hash=hashes[index], proof=proof, root=root)
    with pytest.raises(TrustError):
        verify_inclusion(index=index, size=len(leaves), leaf_hash=hash_leaf(leaves[index] + b"!"), proof=proof, root=root)
    with pytest.raises(TrustError):
        verify_inclusion(index=index, size=len(leaves), leaf_hash=hashes[index], proof=(*proof, bytes(32)), root=root)
    if proof:
        with pytest.raises(TrustError):
            verify_inclusion(index=index, size=len(leaves), leaf_hash=hashes[index], proof=proof[:-1], root=root)


@given(TREES, st.data())
def test_consistency_proofs_hold_for_prefixes_and_for_nothing_else(leaves: list[bytes], data: st.DataObject) -> None:
    old = data.draw(st.integers(0, len(leaves)))
    hashes = [hash_leaf(leaf) for leaf in leaves]
    proof, root, old_root = prove_consistency(old, hashes), merkle_root(leaves), merkle_root(leaves[:old])
    verify_consistency(old_size=old, old_root=old_root, size=len(leaves), root=root, proof=proof)
    forked = merkle_root([*leaves[: max(old - 1, 0)], b"a different leaf"])
    with pytest.raises(TrustError):
        verify_consistency(old_size=old, old_root=forked, size=len(leaves), root=root, proof=proof)
    with pytest.raises(TrustError):
        verify_consistency(old_size=old, old_root=old_root, size=len(leaves), root=root, proof=(*proof, bytes(32)))
    changed = [*leaves]
    if old:
        changed[data.draw(st.integers(0, old - 1))] += b"!"
        with pytest.raises(TrustError):
            verify_consistency(old_size=old, old_root=old_root, size=len(leaves), root=merkle_root(changed), proof=proof)
