"""What is only counted is kept as numbers, and can be offered as `expect`, with what that could hide."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from intact.decide.counted import MAX_LINES, TOLD_AGAIN_S, add_counts, find_scratch, suggest
from intact.decide.reducer import reduce
from intact.model.counted import CountedDrift
from intact.model.finding import Aggregate, Change
from intact.model.policy import Policy
from tests.unit.decide.cases import WEB, facts, found, opened, pod

NOTHING = CountedDrift(workload=WEB, container="web", image="web:1")


def data(pattern: str, count: int = 1, rule: str = "data-added") -> Aggregate:
    return Aggregate(pattern=pattern, rule=rule, count=count)


def test_the_most_of_one_container_and_the_number_of_pods_are_kept() -> None:
    known = add_counts(add_counts(NOTHING, [data("/srv/**", 7)], "p1", 1.0), [data("/srv/**", 3)], "p2", 2.0)
    (line,) = known.counted
    assert (line.count, line.pods, line.first_at, line.last_at) == (7, ("p1", "p2"), 1.0, 2.0)
    assert suggest([known], [])[0].pods == 2


LOOKS = st.lists(st.tuples(st.sampled_from(["/a/**", "/b/**"]), st.integers(1, 9), st.sampled_from(["p1", "p2", "p3"])), max_size=8)


@given(LOOKS, st.data())
def test_the_order_in_which_pods_are_counted_does_not_matter(looks: list[tuple[str, int, str]], draw: st.DataObject) -> None:
    def count(looks: list[tuple[str, int, str]]) -> CountedDrift:
        known = NOTHING
        for pattern, number, uid in looks:
            known = add_counts(known, [data(pattern, number)], uid, 5.0)
        return known

    assert count(draw.draw(st.permutations(looks))) == count(looks)


def test_what_is_kept_is_bounded_and_code_in_scratch_is_kept_first() -> None:
    known = add_counts(NOTHING, [data(f"/x{number}/**") for number in range(500)] + [data("/up/*.php", rule="code-in-scratch")], "p1", 1.0)
    assert len(known.counted) == MAX_LINES and ("code-in-scratch", "/up/*.php") in {(one.rule, one.pattern) for one in known.counted}


def test_code_in_scratch_directories_is_told_once_a_day() -> None:
    known = add_counts(NOTHING, [data("/up/*.php", rule="code-in-scratch"), data("/srv/**")], "p1", 10.0)
    (told,) = find_scratch(known, 10.0)
    assert told.pattern == "/up/*.php"
    known = CountedDrift(workload=WEB, container="web", image="web:1", counted=known.counted, scratch_told_at=10.0)
    again = add_counts(known, [data("/up/*.php", 5, "code-in-scratch")], "p1", 100.0)
    assert find_scratch(again, 100.0) == () and len(find_scratch(again, 10.0 + TOLD_AGAIN_S)) == 1
    assert find_scratch(known, 10.0 + TOLD_AGAIN_S) == (), "nothing was seen since"


def test_what_alerts_in_two_pods_alike_can_be_suggested_and_says_what_it_hides() -> None:
    reported = [found(pod(name, "n1"), path=b"/etc/app [1].conf", rule_id="control-file-added", change=Change.ADDED) for name in ("a", "b")]
    lone = found(pod("a", "n1"), path=b"/etc/lone", rule_id="control-file-added")
    rights = [found(pod(name, "n1"), path=b"/bin/su2", rule_id="privilege-bits") for name in ("a", "b")]
    incident, _ = reduce(None, [*reported, lone, *rights], Policy(name="p"), facts(pod("a", "n1"), pod("b", "n1")), 1000.0)
    (one,) = suggest([], [opened(incident)])
    assert (one.pattern, one.rule, one.pods, one.told) == (r"/etc/app \[1\].conf", "control-file-added", 2, True)
    assert "planted" in one.could_hide
