"""Who is wrong about an image, and where that cannot be told."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intact.decide.agreement import Claim, Own, weigh
from intact.model.digest import Digest

A, B, C = (Digest.of(letter) for letter in (b"a", b"b", b"c"))
WEB = frozenset({"registry.example/web:1"})


def claim(node: str, root: Digest, *, algorithms: str = "sha256", computed: bool = True, names: frozenset[str] = WEB) -> Claim:
    return Claim(node=node, root=root, algorithms=algorithms, computed=computed, names=names)


def test_two_nodes_that_computed_the_same_corroborate_each_other() -> None:
    found = weigh([claim("n1", A), claim("n2", A)], None, minimum=2, nodes=3)
    assert found.corroborated == {("n1", A), ("n2", A)} and not found.odd and not found.undecided
    assert weigh([claim("n1", A)], None, minimum=2, nodes=3).corroborated == frozenset()
    assert weigh([claim("n1", A), claim("n2", A)], None, minimum=3, nodes=3).corroborated == frozenset()


def test_who_was_sent_the_baseline_corroborates_nothing() -> None:
    assert weigh([claim("n1", A), claim("n2", A, computed=False)], None, minimum=2, nodes=3).corroborated == frozenset()


def test_the_clusters_own_root_decides_even_against_all_nodes() -> None:
    found = weigh([claim("n1", B), claim("n2", B), claim("n3", A)], Own(root=A, algorithms="sha256"), minimum=2, nodes=3)
    assert (found.odd, found.undecided) == (("n1", "n2"), ())
    assert str(A) in found.why and str(B) in found.why


@pytest.mark.parametrize("nodes", [2, 3, 4])
def test_one_against_one_cannot_be_told(nodes: int) -> None:
    found = weigh([claim("n1", A), claim("n2", B)], None, minimum=2, nodes=nodes)
    assert (found.odd, found.undecided, found.corroborated) == ((), ("n1", "n2"), frozenset())


def test_a_majority_counts_only_if_it_is_one_of_the_whole_cluster() -> None:
    three = [claim("n1", A), claim("n2", A), claim("n3", A), claim("n4", B)]
    found = weigh(three, None, minimum=2, nodes=5)
    assert (found.odd, found.undecided) == (("n4",), ())
    assert found.corroborated == {("n1", A), ("n2", A), ("n3", A)}
    found = weigh(three, None, minimum=2, nodes=6)
    assert (found.odd, found.undecided) == ((), ("n1", "n2", "n3", "n4")), "three of six may all be stolen"
    assert weigh(three[1:], None, minimum=2, nodes=3).odd == (), "two against one"


def test_roots_over_other_algorithms_are_not_compared() -> None:
    found = weigh([claim("n1", A), claim("n2", B, algorithms="sha512"), claim("n3", B, algorithms="sha512")], None, minimum=2, nodes=3)
    assert not found.odd and not found.undecided
    assert found.corroborated == {("n2", B), ("n3", B)}
    assert weigh([claim("n1", B, algorithms="sha512")], Own(root=A, algorithms="sha256"), minimum=2, nodes=3).odd == ()


def test_a_node_cannot_drag_in_an_image_that_only_others_run() -> None:
    elsewhere = frozenset({"registry.example/other:1"})
    found = weigh([claim("n1", A), claim("n2", B, names=elsewhere)], None, minimum=2, nodes=3)
    assert not found.odd and not found.undecided
    found = weigh([claim("n1", A, names=WEB | elsewhere), claim("n2", B, names=elsewhere)], None, minimum=2, nodes=3)
    assert found.undecided == ("n1", "n2")


def test_a_node_with_two_roots_for_one_image_is_odd() -> None:
    found = weigh([claim("n1", A), claim("n2", A), claim("n2", B)], None, minimum=1, nodes=3)
    assert (found.odd, found.undecided) == (("n2",), ())
    assert found.corroborated == {("n1", A)}


@given(
    st.lists(st.tuples(st.sampled_from(["n1", "n2", "n3", "n4", "n5"]), st.sampled_from([A, B, C])), max_size=5, unique_by=lambda c: c[0])
)
def test_the_order_does_not_matter_and_fewer_than_half_accuse_nobody_honest(said: list[tuple[str, Digest]]) -> None:
    claims = [claim(node, root) for node, root in said]
    found = weigh(claims, None, minimum=2, nodes=5)
    for other in list(permutations(claims))[:24]:
        again = weigh(other, None, minimum=2, nodes=5)
        assert (again.odd, again.undecided, again.corroborated) == (found.odd, found.undecided, found.corroborated)
    for truth in (A, B, C):  # whichever it is: if at most two of the five nodes lie about it, no honest one is called odd
        liars = {one.node for one in claims if one.root != truth}
        if len(liars) <= 2:
            assert set(found.odd) <= liars
