"""In virtual time: nothing that rang is forgotten, nothing is looked at more than it must be."""

from intact.model.seam import PodPlan
from intact.observe.watcher import FEW_PATHS, FLOOD_LOOK_S, GATHER_S, HOT_S, LARGEST_SET, OVERFLOW_PAUSE_S, Schedule

PLAN = PodPlan(pod_uid="", interval_s=60)


def watching(*names: str) -> Schedule:
    schedule = Schedule()
    for name in names:
        schedule.add(name, PLAN, 0)
    assert schedule.due(0) == [(name, None) for name in names]
    return schedule


def test_a_new_container_is_looked_at_at_once_and_then_at_its_interval() -> None:
    schedule = watching("a")
    assert schedule.due(59.9) == []
    assert schedule.next_due(1) == 60
    assert schedule.due(60) == [("a", None)]
    assert schedule.due(60) == []


def test_a_ring_is_due_at_once_with_all_its_paths() -> None:
    schedule = watching("a", "b")
    schedule.rang("a", [b"/x"], 1)
    schedule.rang("a", [b"/y/"], 1)
    assert schedule.is_dirty("a") and not schedule.is_dirty("b")
    assert schedule.next_due(1) == 1
    assert schedule.due(1) == [("a", frozenset({b"/x", b"/y/"}))]
    assert schedule.due(1) == [] and not schedule.is_dirty("a")


def test_what_rang_is_looked_at_once_more_after_a_minute_and_not_again() -> None:
    schedule = Schedule()
    schedule.add("a", PodPlan(pod_uid="", interval_s=3600), 0)
    schedule.due(0)
    schedule.rang("a", [b"/x"], 10)
    schedule.due(10)
    assert schedule.due(10 + HOT_S - 0.1) == []
    assert schedule.due(10 + HOT_S) == [("a", frozenset({b"/x"}))]
    assert schedule.due(10 + 3 * HOT_S) == []


def test_a_path_that_rings_all_the_time_does_not_put_its_second_look_off() -> None:
    schedule = Schedule()
    schedule.add("a", PodPlan(pod_uid="", interval_s=3600), 0)
    schedule.due(0)
    schedule.rang("a", [b"/first"], 0)
    for second in range(1, 62):
        schedule.rang("a", [b"/busy"], second)
        due = schedule.due(second)
    assert due == [("a", frozenset({b"/first", b"/busy"}))]


def test_too_many_paths_become_a_whole_look() -> None:
    schedule = watching("a")
    schedule.rang("a", [b"/%d" % n for n in range(LARGEST_SET + 1)], 1)
    assert schedule.due(1) == [("a", None)]


def test_lost_events_mean_everything_but_not_all_the_time() -> None:
    schedule = watching("a", "b")
    schedule.everything(1)
    assert schedule.due(1) == [("a", None), ("b", None)]
    schedule.everything(1.1)
    schedule.everything(1.2)
    assert schedule.due(2) == []
    assert schedule.due(1 + OVERFLOW_PAUSE_S) == [("a", None), ("b", None)]
    assert schedule.due(30) == []


def test_a_container_whose_looks_are_long_does_not_starve_the_others() -> None:
    schedule = watching("heavy", "light")
    schedule.looked("heavy", 0, 2, paths=1)
    schedule.rang("heavy", [b"/x"], 2)
    schedule.rang("light", [b"/y"], 2)
    assert schedule.due(2) == [("light", frozenset({b"/y"}))]
    assert schedule.due(9.9) == []
    assert schedule.due(10) == [("heavy", frozenset({b"/x"}))]


def test_a_long_look_at_everything_does_not_put_off_the_paths_that_ring_after_it() -> None:
    """A crowd of files that makes every look at everything slow hides nothing that is done beside it."""
    schedule = Schedule()
    schedule.add("crowded", PodPlan(pod_uid="p", interval_s=10), 0)
    assert schedule.due(0) == [("crowded", None)]
    schedule.looked("crowded", 0, 20)
    schedule.rang("crowded", {b"/etc/crontab"}, 21)
    assert schedule.due(21) == [("crowded", frozenset({b"/etc/crontab"}))], "alone, though everything is due as well"
    schedule.looked("crowded", 21, 22, paths=1)
    schedule.rang("crowded", {b"/etc/passwd"}, 22)
    assert schedule.due(25.9) == [], "these have a fifth of the time of their own"
    assert schedule.due(26) == [("crowded", frozenset({b"/etc/passwd"}))]
    assert schedule.due(99) == []
    assert schedule.due(100) == [("crowded", None)]


def test_a_changed_plan_keeps_what_is_due_and_an_unwatched_pod_is_left_alone() -> None:
    schedule = watching("a")
    schedule.rang("a", [b"/x"], 1)
    schedule.add("a", PodPlan(pod_uid="", interval_s=10), 1)
    assert schedule.due(1) == [("a", frozenset({b"/x"}))]
    assert schedule.due(11) == [("a", None)]
    schedule.add("a", PodPlan(pod_uid="", watched=False), 12)
    schedule.rang("a", None, 12)
    assert schedule.due(1000) == []


def test_without_real_time_only_the_interval_counts() -> None:
    schedule = Schedule()
    schedule.add("a", PodPlan(pod_uid="", realtime=False, interval_s=30), 0)
    schedule.due(0)
    schedule.rang("a", [b"/x"], 1)
    assert schedule.due(29) == []
    assert schedule.due(30) == [("a", None)]


def test_one_that_floods_is_looked_at_by_the_clock_and_once_more_when_it_is_over() -> None:
    schedule = watching("loud", "quiet")
    schedule.rang("loud", [b"/x"], 1)
    schedule.flood("loud", 1)
    schedule.rang("loud", None, 2)
    schedule.rang("quiet", [b"/y"], 2)
    assert schedule.due(2) == [("quiet", frozenset({b"/y"}))]
    assert schedule.due(1 + FLOOD_LOOK_S) == [("loud", None)]
    assert schedule.due(1 + 2 * FLOOD_LOOK_S) == [("loud", None)]
    assert schedule.is_dirty("loud") is False
    schedule.rang("loud", None, 22)
    assert schedule.is_dirty("loud"), "if it ends now, it is looked at once more"
    schedule.calm("loud", 23)
    assert schedule.due(23) == [("loud", None)]
    schedule.rang("loud", [b"/z"], 24)
    assert schedule.due(24) == [("loud", frozenset({b"/z"}))]


def test_while_a_container_is_looked_at_its_rings_wait() -> None:
    schedule = watching("a")
    schedule.rang("a", [b"/x"], 1)
    assert schedule.due(1) == [("a", frozenset({b"/x"}))]
    schedule.begin_look("a")
    schedule.rang("a", [b"/y"], 2)
    assert schedule.due(100) == []
    schedule.looked("a", 2, 3, paths=1)
    assert schedule.due(6.9) == [] and schedule.due(7) == [("a", frozenset({b"/y"}))]


def test_many_paths_gather_after_a_look_and_a_few_do_not() -> None:
    schedule = Schedule()
    for id in ("crowded", "calm"):
        schedule.add(id, PLAN, 0)
    schedule.due(0)
    for id, paths in (("crowded", FEW_PATHS + 1), ("calm", FEW_PATHS)):
        schedule.looked(id, 1, 1, paths=paths)
        schedule.rang(id, [b"/again"], 1)
    assert [id for id, _ in schedule.due(1.01)] == ["calm"]
    schedule.rang("crowded", [b"/again", b"/more"], 1.1)
    assert schedule.next_due(1.1) == 1 + GATHER_S
    assert schedule.due(1 + GATHER_S) == [("crowded", frozenset({b"/again", b"/more"}))]


def test_a_path_that_rings_in_a_crowd_is_looked_at_before_everything_is() -> None:
    schedule = Schedule()
    schedule.add("c", PLAN, 0.0)
    assert schedule.due(0.0) == [("c", None)]
    schedule.looked("c", 0.0, 20.0)
    schedule.rang("c", [b"/etc/cron.d/evil", *(b"/aaa/%d" % number for number in range(LARGEST_SET + 1))], 21.0)
    assert schedule.due(21.0) == [("c", frozenset({b"/etc/cron.d/evil"}))]
    schedule.looked("c", 21.0, 21.0, paths=1)
    assert schedule.due(22.0) == []
    assert schedule.due(101.0) == [("c", None)]


def test_what_rings_apart_from_a_flood_is_looked_at_meanwhile() -> None:
    schedule = Schedule()
    schedule.add("c", PLAN, 0.0)
    schedule.due(0.0)
    schedule.looked("c", 0.0, 0.0)
    schedule.flood("c", 1.0)
    schedule.rang("c", None, 1.5)
    schedule.rang_apart("c", [b"/etc/cron.d/evil"])
    assert schedule.due(2.0) == [("c", frozenset({b"/etc/cron.d/evil"}))]
