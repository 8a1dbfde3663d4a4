"""Whether an incident that is over is kept open for a while, since what it is about comes and goes. Pure.

In: the incident, earlier ones of its workload, the pods that are there now. Out: a claim. Whoever writes a file and removes it in a loop
would else have an incident of its own for each round, with all that is recorded and told of each.

It is kept open while `ROUNDS` incidents of the workload that ended within `WINDOW_S` were about a pod that this one is about and that still
runs, and it was seen less than `QUIET_S` ago. An incident whose pods are gone is never kept.
"""

from __future__ import annotations

from collections.abc import Iterable

from intact.model.facts import PodState
from intact.model.incident import Incident, IncidentState

ROUNDS = 3
WINDOW_S = 900.0
QUIET_S = 300.0


def is_flapping(incident: Incident, earlier: Iterable[Incident], pods: Iterable[PodState], now: float) -> bool:
    """`earlier` may hold `incident` itself."""
    if now - incident.last_seen >= QUIET_S:
        return False
    here = {one.pod_uid for one in incident.affected} & {pod.uid for pod in pods}
    rounds = (
        one
        for one in earlier
        if one.id != incident.id
        and one.state is IncidentState.RESOLVED
        and now - one.last_seen < WINDOW_S
        and not here.isdisjoint(affected.pod_uid for affected in one.affected)
    )
    return sum(1 for _ in rounds) >= ROUNDS
