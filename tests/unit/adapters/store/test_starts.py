"""Start profiles and counted drift are kept, each once, and forgotten when they are of no use any more."""

from __future__ import annotations

from dataclasses import replace

from intact.adapters.store.database import Database
from intact.adapters.store.starts import SqlStartStore
from intact.model.counted import Counted, CountedDrift
from intact.model.incident import Workload
from intact.model.start import StartEntry, StartProfile, Template, Witness
from tests.unit.adapters.store.conftest import Opener

WEB = Workload(kind="Deployment", namespace="shop", name="web", uid="w1")
TEMPLATE = Template(workload=WEB, name="t1", container="web", image="sha256:" + "a" * 64)
PROFILE = StartProfile(
    template=TEMPLATE,
    witnesses=(Witness(pod_uid="p1", pod="web-1", node="n1", entries=(StartEntry(path=b"/etc/\xff", shape="s", rule="r"),)),),
)


def test_a_profile_is_kept_once_for_each_template(database: Database, open_again: Opener) -> None:
    store = SqlStartStore(database)
    other = replace(PROFILE, template=replace(TEMPLATE, name="t2"))
    store.save(PROFILE, 1.0)
    store.save(other, 2.0)
    grown = replace(PROFILE, established_at=3.0)
    store.save(grown, 3.0)
    again = SqlStartStore(open_again())
    assert again.get(TEMPLATE) == grown and again.get(other.template) == other
    assert again.of_image(TEMPLATE.image) == again.list_all() == (grown, other)
    for changed in (replace(TEMPLATE, image="sha256:" + "b" * 64), replace(TEMPLATE, workload=replace(WEB, uid="w2"))):
        assert again.get(changed) is None, "another image, or another workload of the same name"


def test_what_is_of_no_use_is_forgotten(database: Database) -> None:
    store = SqlStartStore(database)
    line = Counted(rule="data-added", pattern="/srv/**", count=3, pods=("p1",), first_at=1.0, last_at=2.0)
    counted = CountedDrift(workload=WEB, container="web", image="i", counted=(line,))
    store.save(PROFILE, 1.0)
    store.save_counted(counted, 5.0)
    assert store.counted(WEB, "web") == counted and store.counted(WEB, "other") is None
    assert store.forget_before(5.0) == 1
    assert (store.list_all(), store.list_counted()) == ((), (counted,))
