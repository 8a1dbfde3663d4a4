"""What entry points do before Ready is silent once two pods agree; everything else is told as if nobody had learnt anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from intact.decide.start import PASSING_S
from intact.model.finding import Aggregate, Change, Level
from intact.model.incident import IncidentState
from intact.model.policy import Policy, Purpose
from intact.run.cluster.flow import WHY_EXPECTED
from intact.run.cluster.starts import ASK_EVERY_S
from intact.run.storage.memory import open_state
from tests.unit.clusters import START, staged
from tests.unit.run.cluster.shop import AFTER, BEFORE, CONF, READY, Shop, established, start_clean
from tests.unit.seam_contract import wait_until


def test_two_pods_that_start_alike_make_a_profile_and_nobody_is_alarmed(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        first, _ = established(shop)
        shop.find(shop.start("third", "n3"), (CONF, b"generated", BEFORE))
        assert cluster.incidents() == () and cluster.alerts() == []
        assert shop.told() == [("First", "Info", 1), ("Established", "Info", 1)]
        shop.look_on(first)
        (shown,) = [one for node in cluster.flow.status() for one in node.coverage if one.container.id == first.id]
        assert (shown.verdict, shown.reason) == ("Expected", WHY_EXPECTED), "people see that it differs, and why it alarms nobody"
        assert first.pod is not None and cluster.flow._looks.intact_at(first.pod.uid) is not None, "it counts as intact"


def test_what_one_pod_does_otherwise_is_told_at_once(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        established(shop)
        shop.find(shop.start("third", "n3"), (CONF, b"generated", BEFORE), (b"/usr/bin/tool", b"evil", BEFORE))
        assert [one.path for one in cluster.wait_incident().seen] == [b"/usr/bin/tool"]


def test_a_change_after_ready_is_told_at_once_in_every_pod(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        shop.find(shop.start("lone", "n1"), (CONF, b"evil", READY + 1.0))
        assert [one.path for one in cluster.wait_incident().seen] == [CONF]
    with staged(tmp_path, cluster) as cluster:
        shop = Shop(cluster)
        _, second = established(shop, template="t2")
        shop.find(second, (CONF, b"generated", AFTER))
        assert {one.pod for one in cluster.wait_incident().seen} == {"lone", "t2-n2"}, "even to what it was at the start"


def test_a_pod_that_was_tampered_with_first_is_found_when_others_start_otherwise(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        bad = shop.start("bad", "n1")
        shop.find(bad, (CONF, b"generated", BEFORE), (b"/usr/bin/tool", b"evil", BEFORE))
        shop.look_on(bad)
        assert cluster.incidents() == (), "nobody can know yet"
        good = shop.start("good", "n2")
        shop.find(good, (CONF, b"generated", BEFORE))
        shop.look_on(good)
        assert bad.pod is not None
        uid = bad.pod.uid
        wait_until(lambda: uid in shop.orders("n1"), 60)
        shop.find(bad, (CONF, b"generated", BEFORE), (b"/usr/bin/tool", b"evil", BEFORE))
        assert [one.path for one in cluster.wait_incident().seen] == [b"/usr/bin/tool"]


def test_a_look_that_came_too_early_to_tell_what_a_pod_started_with_is_asked_for_again(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        pod = shop.start("a", "n1", is_ready=False)
        shop.get_ready(pod, at=cluster.clock.now)
        shop.find(pod, (CONF, b"generated", BEFORE))  # within the second in which the pod became ready

        ordered: set[str] = set()

        def are_ordered(number: int) -> bool:
            ordered.update(command.id for command in cluster.flow.commands_for("n1", 0.0))
            return len(ordered) == number

        wait_until(lambda: are_ordered(1), 60)
        shop.find(pod, (CONF, b"generated", BEFORE))  # the node's clock is behind: for it the second is not over
        for _ in range(int(ASK_EVERY_S)):
            shop.look_on(pod, at=START)
        wait_until(lambda: are_ordered(2), 60)


def test_a_second_look_that_is_asked_for_in_the_same_second_is_carried_out(tmp_path: Path) -> None:
    """A node carries out no command twice."""
    with staged(tmp_path) as cluster:
        pod = Shop(cluster).start("a", "n1").pod
        assert pod is not None
        workload, ordered = cluster.world.pods[pod.uid].workload, set[str]()
        for number in (1, 2):
            cluster.flow._reconciler.look_again(workload, pod.uid)

            def are_ordered(number: int = number) -> bool:
                ordered.update(command.id for command in cluster.flow.commands_for("n1", 0.0))
                return len(ordered) == number

            wait_until(are_ordered, 60)
            cluster.clock.now += 0.25


def test_what_is_made_in_the_second_of_ready_belongs_to_the_start(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        for name, node in (("a", "n1"), ("b", "n2")):
            fast = shop.start(name, node)
            shop.find(fast, (CONF, b"generated", READY + 0.4))
            shop.look_on(fast)
        assert cluster.incidents() == () and shop.told()[-1] == ("Established", "Info", 1)
        shop.find(shop.start("c", "n3"), (CONF, b"generated", READY + 0.7))
        assert cluster.incidents() == (), "it is known what pods start with"
        shop.find(shop.start("d", "n3"), (CONF, b"otherwise", READY + 0.7))
        assert {one.pod for one in cluster.wait_incident().seen} == {"d"}


def test_a_pod_that_recovers_does_not_start_again(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        flapping = shop.start("flapping", "n1")
        shop.find(flapping)
        assert flapping.pod is not None
        known = cluster.world.pods[flapping.pod.uid]
        cluster.world.pods[flapping.pod.uid] = replace(known, ready_since=READY + 40)
        shop.find(flapping, (CONF, b"evil", AFTER))
        assert [one.path for one in cluster.wait_incident().seen] == [CONF]


def test_pods_that_start_clean_are_witnesses_too(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        start_clean(shop, "a", "b")
        shop.find(shop.start("c", "n3"), (CONF, b"evil", BEFORE))
        assert [one.pod for one in cluster.wait_incident().seen] == ["c"]
        assert shop.told() == []


def test_without_readiness_or_a_template_everything_is_told(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        shop.find(shop.start("unknown", "n1", is_ready=None), (CONF, b"x", BEFORE))
        shop.find(shop.start("bare", "n1", template=""), (CONF, b"x", BEFORE))
        assert {one.pod for one in cluster.wait_incident(lambda one: one.count == 2).seen} == {"unknown", "bare"}


def test_what_grants_rights_is_told_in_the_first_pod_and_in_all(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        for name, node in (("a", "n1"), ("b", "n2"), ("c", "n3")):
            one = shop.start(name, node)
            shop.find(one, (b"/usr/bin/su2", b"x", BEFORE), rule="privilege-bits")
            shop.look_on(one)
        assert {one.pod for one in cluster.wait_incident(lambda one: one.count == 3).seen} == {"a", "b", "c"}


def test_a_profile_outlives_the_controller(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        established(Shop(cluster))
        cluster.state.database.close()
    (tmp_path / "lock").unlink()
    state = open_state(tmp_path)
    with staged(tmp_path, replace(cluster, state=state)) as again:
        shop = Shop(again)
        shop.find(shop.start("third", "n3"), (CONF, b"generated", BEFORE))
        assert again.incidents() == ()
        shop.find(shop.start("fourth", "n3"), (CONF, b"evil", BEFORE))
        assert again.wait_incident().state is IncidentState.OPEN


def test_another_start_of_a_known_image_is_shown(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        established(shop, template="t1")
        established(shop, template="t2")
        assert shop.told()[-1] == ("Established", "Info", 1), "the same paths as before"
        for one in (shop.start("a", "n1", template="t3"), shop.start("b", "n2", template="t3")):
            shop.find(one, (b"/etc/other.conf", b"x", BEFORE))
            shop.look_on(one)
        assert shop.told()[-1] == ("Established", "Low", 1)
        assert cluster.incidents() == ()


def test_host_keys_of_each_pods_own_are_silent_at_the_start_and_recorded(tmp_path: Path) -> None:
    key = b"/etc/ssh/ssh_host_rsa_key"
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        pods = [shop.start(name, node) for name, node in (("a", "n1"), ("b", "n2"), ("c", "n3"))]
        for number, one in enumerate(pods):
            shop.find(one, (key, b"key %d" % number, BEFORE), rule="control-file-added")
            shop.look_on(one)
        assert cluster.incidents() == () and ("Varies", "Info", 1) in shop.told()
        shop.find(pods[2], (key, b"another", AFTER), rule="control-file-added")
        assert [(one.pod, one.path) for one in cluster.wait_incident().seen] == [("c", key)]


def test_a_pod_that_was_not_looked_at_since_it_is_ready_is_looked_at_once(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        cluster.clock.now = BEFORE
        early = shop.start("early", "n1", is_ready=False)
        shop.find(early, (CONF, b"generated", BEFORE))
        shop.look_on(early)
        assert shop.orders("n1") == set()
        shop.get_ready(early)
        shop.look_on(early)
        assert early.pod is not None
        uid = early.pod.uid
        wait_until(lambda: uid in shop.orders("n1"), 60)


def test_what_a_declared_build_does_is_a_number_in_the_record_and_what_gives_rights_an_alert(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        cluster.world.declared = (Policy(name="ci", namespace="shop", workload=Purpose.BUILD),)
        shop = Shop(cluster)
        builder = shop.start("builder", "n1", template="")
        shop.find(builder, *((b"/usr/lib/x%d" % number, b"x", AFTER) for number in range(50)))
        assert cluster.incidents() == ()
        (leaf,) = cluster.leaves("Verdict")
        assert leaf.body["aggregates"] == [{"count": 50, "pattern": "/usr/**", "rule": "image-file-changed"}]
        assert builder.pod is not None and cluster.flow._looks.intact_at(builder.pod.uid) is not None
        shop.find(builder, (b"/usr/bin/su2", b"x", AFTER), rule="privilege-bits")
        assert [one.path for one in cluster.wait_incident().seen] == [b"/usr/bin/su2"]


def test_code_in_scratch_directories_is_recorded_once_a_day_and_alarms_nobody(tmp_path: Path) -> None:
    shell = Aggregate(pattern="/srv/uploads/*.php", rule="code-in-scratch", count=1)
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        for name in ("a", "b"):
            shop.find(shop.start(name, "n1"), aggregates=(shell, Aggregate(pattern="/srv/cache/**", rule="data-added", count=9)))
        (leaf,) = cluster.leaves("ScratchCode")
        assert leaf.body["patterns"] == [{"pattern": "/srv/uploads/*.php", "count": 1, "pods_count": 1}]
        assert cluster.incidents() == () and cluster.alerts() == []
        (kept,) = cluster.state.memory.starts.list_counted()
        assert [(one.pattern, one.count, len(one.pods)) for one in kept.counted] == [("/srv/uploads/*.php", 1, 2), ("/srv/cache/**", 9, 2)]
        cluster.clock.now += 90_000.0
        shop.find(shop.start("c", "n1"), aggregates=(shell,))
        assert len(cluster.leaves("ScratchCode")) == 2


LOCK = b"/etc/passwd.lock"


def test_a_lock_that_is_held_for_a_moment_at_the_start_alarms_nobody(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        start_clean(shop, "a", "b")
        third = shop.start("c", "n3", is_ready=False, started_at=START)
        shop.find(third, (LOCK, b"7", cluster.clock.now), rule="control-file-added", change=Change.ADDED)
        shop.find(third)
        cluster.clock.now += PASSING_S
        shop.get_ready(third, cluster.clock.now)
        shop.look_on(third, verdict="Intact")
        assert cluster.incidents() == () and shop.told() == [("Held", "Info", 1)]


def test_a_lock_that_was_gone_before_it_could_be_read_alarms_nobody(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        first = shop.start("a", "n1", is_ready=False, started_at=START)
        dated_by_its_directory = cluster.clock.now + 1.5  # after the look, which is a second from now
        shop.find(first, (LOCK, None, dated_by_its_directory), rule="control-file-added", change=Change.ADDED)
        shop.find(first)
        assert cluster.incidents() == () and shop.told() == [("Held", "Info", 1)]


def test_a_file_of_accounts_that_was_replaced_while_it_was_read_alarms_nobody(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        first = shop.start("a", "n1", is_ready=False, started_at=START)
        shop.find(first, (b"/etc/group", None, cluster.clock.now))
        shop.find(first, (b"/etc/group", b"deploy:x:1000:", cluster.clock.now))
        shop.get_ready(first, cluster.clock.now + 1)
        shop.look_on(first)
        assert cluster.incidents() == () and [verb for verb, _, _ in shop.told()] == ["Held", "First"]


def test_a_program_that_nobody_could_read_is_not_held_back(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        first = shop.start("a", "n1", is_ready=False, started_at=START)
        shop.find(first, (b"/srv/shell.php", None, cluster.clock.now), rule="code-added", change=Change.ADDED)
        assert [one.path for one in cluster.wait_incident().seen] == [b"/srv/shell.php"]


def test_a_witness_whose_last_look_is_heard_late_tells_all_that_it_started_with(tmp_path: Path) -> None:
    keys = b"/etc/aliases.db"
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        first, second = shop.start("a", "n1"), shop.start("b", "n2")
        shop.find(first, (CONF, b"generated", BEFORE))
        shop.look_on(first)
        shop.find(first, (CONF, b"generated", BEFORE), (keys, b"of a", BEFORE))
        shop.find(second, (CONF, b"generated", BEFORE), (keys, b"of b", BEFORE))
        shop.look_on(second)
        shop.find(first, (CONF, b"generated", BEFORE), (keys, b"of a", BEFORE))
        shop.find(second, (CONF, b"generated", BEFORE), (keys, b"of b", BEFORE))
        assert cluster.incidents() == ()


def test_what_nobody_could_read_and_is_still_there_a_moment_later_counts(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        first = shop.start("a", "n1", is_ready=False, started_at=START)
        evil = (b"/etc/cron.d/evil", None, cluster.clock.now)
        shop.find(first, evil, rule="control-file-added", change=Change.ADDED)
        cluster.clock.now += PASSING_S
        shop.find(first, evil, rule="control-file-added", change=Change.ADDED)
        assert [one.path for one in cluster.wait_incident().seen] == [evil[0]]


def test_a_lock_of_the_second_of_ready_alarms_nobody(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        start_clean(shop, "a", "b")
        third = shop.start("c", "n3", is_ready=False, started_at=START - 10)
        shop.get_ready(third, cluster.clock.now - 0.5)
        shop.find(third, (LOCK, b"7", cluster.clock.now), rule="control-file-added", change=Change.ADDED)
        shop.find(third)
        assert cluster.incidents() == () and shop.told() == [("Held", "Info", 1)]


def test_what_is_still_there_a_moment_later_counts_ready_or_not(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        start_clean(shop, "a", "b")
        third = shop.start("c", "n3", is_ready=False, started_at=START)
        evil = (b"/etc/cron.d/evil", b"x", cluster.clock.now)
        shop.find(third, evil, rule="control-file-added", change=Change.ADDED)
        shop.look_on(third)
        assert cluster.incidents() == () and third.pod is not None
        uid = third.pod.uid
        wait_until(lambda: uid in shop.orders("n3"), 60)
        cluster.clock.now += PASSING_S
        shop.find(third, evil, rule="control-file-added", change=Change.ADDED)
        assert [one.path for one in cluster.wait_incident().seen] == [evil[0]]


def test_programs_and_changes_of_the_image_are_not_held_back(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        start_clean(shop, "a", "b")
        shop.find(shop.start("c", "n3", is_ready=False), (b"/srv/shell.php", b"x", BEFORE), rule="code-added", change=Change.ADDED)
        shop.find(shop.start("d", "n3", is_ready=False), (CONF, b"x", BEFORE))
        assert {one.pod for one in cluster.wait_incident(lambda one: one.count == 2).seen} == {"c", "d"}


def test_an_agent_that_forgot_what_was_there_alarms_nobody_by_another_name_in_a_directory(tmp_path: Path) -> None:
    key = b"/home/deploy/.ssh/id_ed25519"
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        pods = [shop.start(name, node) for name, node in (("a", "n1"), ("b", "n2"), ("c", "n3"))]
        for one in pods:
            shop.find(one, (key, b"key of %s" % one.id.encode(), BEFORE), rule="control-file-added", placed_at=BEFORE)
            shop.look_on(one)
        for one in pods:
            shop.find(one, (key, b"key of %s" % one.id.encode(), BEFORE), rule="control-file-added", placed_at=AFTER)
        assert cluster.incidents() == ()
        shop.find(pods[0], (key, b"prepared before, moved later", BEFORE), rule="control-file-added", placed_at=AFTER)
        assert [one.pod for one in cluster.wait_incident().seen] == ["a"]


def test_in_the_first_pod_what_was_moved_into_place_later_is_told(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        shop.find(shop.start("lone", "n1"), (b"/etc/cron.d/job", b"x", BEFORE), rule="control-file-added", placed_at=AFTER)
        assert [one.path for one in cluster.wait_incident().seen] == [b"/etc/cron.d/job"]


CACHE = b"/usr/lib/python3/dist-packages/shop/__pycache__/cart.cpython-311.pyc"


def test_bytecode_that_nobody_could_check_is_held_against_other_pods_whenever_it_was_made(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        pods = start_clean(shop, "a", "b", "c")
        for one in pods:
            shop.find(one, (CACHE, b"compiled", AFTER), rule="bytecode-cache-added", change=Change.ADDED)
        assert cluster.incidents() == (), "a module that is used late"
        shop.find(pods[2], (CACHE, b"poisoned", AFTER + 9), rule="bytecode-cache-added", change=Change.ADDED)
        incident = cluster.wait_incident()
        assert (incident.level, [one.pod for one in incident.seen]) == (Level.MEDIUM, ["c"])


def test_the_first_bytecode_is_told_when_another_pod_has_something_else(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        first, second = start_clean(shop, "a", "b")
        shop.find(first, (CACHE, b"poisoned", AFTER), rule="bytecode-cache-added", change=Change.ADDED)
        assert cluster.incidents() == ()
        shop.find(second, (CACHE, b"compiled", AFTER), rule="bytecode-cache-added", change=Change.ADDED)
        assert [one.pod for one in cluster.wait_incident().seen] == ["b"], "nobody can tell which is right"
        assert first.pod is not None
        uid = first.pod.uid
        wait_until(lambda: uid in shop.orders("n1"), 60)
        shop.find(first, (CACHE, b"poisoned", AFTER), rule="bytecode-cache-added", change=Change.ADDED)
        assert {one.pod for one in cluster.wait_incident(lambda one: one.count == 2).seen} == {"a", "b"}


def test_the_same_poison_in_two_pods_that_had_compiled_the_module_is_told_in_both(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        pods = [shop.start(name, node) for name, node in (("a", "n1"), ("b", "n2"))]
        for one in pods:
            shop.find(one, (CACHE, b"compiled", BEFORE), rule="bytecode-cache-added", change=Change.ADDED)
            shop.look_on(one)
        for one in pods:
            shop.find(one, (CACHE, b"poisoned", AFTER), rule="bytecode-cache-added", change=Change.ADDED)
        assert {one.pod for one in cluster.wait_incident(lambda one: one.count == 2).seen} == {"a", "b"}
