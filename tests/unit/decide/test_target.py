"""A rollback goes to a revision that is known by digest and, unless told otherwise, was seen intact for long enough."""

from __future__ import annotations

import pytest

from intact.decide.target import choose_target
from intact.model.facts import NoTarget
from intact.model.incident import Workload
from intact.model.policy import RollbackTo
from intact.model.revision import RevisionRecord

PINNED = (("web", "registry/shop/web@sha256:" + "a" * 64),)


def revision(
    number: int,
    *,
    intact: tuple[float, float] | None = (0.0, 700.0),
    images: tuple[tuple[str, str], ...] = PINNED,
    drifted: float | None = None,
) -> RevisionRecord:
    return RevisionRecord(
        workload=Workload(kind="Deployment", namespace="shop", name="web"),
        name=f"web-{number}", uid=str(number), hash=f"h{number}", number=number, images=images, first_seen=0.0,
        intact_since=intact[0] if intact else None, intact_until=intact[1] if intact else None, drifted_at=drifted,
    )  # fmt: skip


GOOD, PREVIOUS = RollbackTo.LAST_KNOWN_GOOD, RollbackTo.PREVIOUS


@pytest.mark.parametrize(
    ("records", "to", "chosen"),
    [
        ([revision(1), revision(2), revision(3)], GOOD, "web-2"),
        ([revision(1), revision(2, intact=(0.0, 10.0)), revision(3)], GOOD, "web-1"),
        ([revision(1), revision(2, intact=None), revision(3)], GOOD, "web-1"),
        ([revision(1), revision(2, drifted=500.0), revision(3)], GOOD, "web-1"),
        ([revision(1), revision(2, intact=(600.0, 1300.0), drifted=500.0), revision(3)], GOOD, "web-2"),
        ([revision(1), revision(2, images=(("web", "shop/web:latest"),)), revision(3)], GOOD, "web-1"),
        ([revision(1), revision(2, intact=None), revision(3)], PREVIOUS, "web-2"),
        ([revision(4), revision(1), revision(3)], PREVIOUS, "web-1"),
        ([revision(1), revision(2), revision(3)], PREVIOUS, "web-2"),
        ([revision(3)], GOOD, "no other revision"),
        ([], GOOD, "no other revision"),
        ([revision(2, intact=None), revision(3)], GOOD, "seen intact for 600s"),
        ([revision(2, images=(("web", "shop/web:latest"),)), revision(3)], GOOD, "digests of the images of web-2"),
        ([revision(2, images=()), revision(3)], PREVIOUS, "digests of the images of web-2"),
        ([revision(4), revision(3)], PREVIOUS, "no revision before"),
    ],
)
def test_the_target_of_a_rollback(records: list[RevisionRecord], to: RollbackTo, chosen: str) -> None:
    found = choose_target(reversed(records), "h3", to, 600.0)
    assert chosen in (found.reason if isinstance(found, NoTarget) else found.name)
