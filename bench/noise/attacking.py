"""Carries the attacks out and waits for what Intact says of each.

In: a stage with the services running. Out: an outcome an attack: the finding that names it, or none within the time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.noise.attacks import Attack
from bench.noise.stage import Object, Stage
from intact.audit.record import format_time
from lab.progress import step
from lab.settings import LabError

PATIENCE_S = 150.0
"""The doorbell tells within seconds; what only a timed look finds, within its interval."""
QUIET = ("Info", "Low")
AT_ONCE = 4
"""So many services are attacked at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`level` and `rule` of the gravest finding that names the path in that pod; empty if there was none. `error`: the script failed."""

    attack: Attack
    pod: str
    error: str = ""
    level: str = ""
    rule: str = ""

    @property
    def alerted(self) -> bool:
        return bool(self.level) and self.level not in QUIET


def attack(stage: Stage, attacks: Sequence[Attack], *, patience_s: float = PATIENCE_S) -> list[Outcome]:
    """Each in the first pod of its service, all of them, and then the wait, which ends when every one of `attacks` was told."""
    began = time.time()
    with step(f"{len(attacks)} attacks"), ThreadPoolExecutor(AT_ONCE) as pool:
        services = {one.service: [other for other in attacks if other.service == one.service] for one in attacks}
        tried = [one for some in pool.map(lambda name: _attack_service(stage, name, services[name]), services) for one in some]
    deadline = time.monotonic() + patience_s
    outcomes = tried
    with step("what Intact says", lambda: f"{sum(one.alerted for one in outcomes)} of {len(outcomes)} told"):
        while True:
            findings = [leaf["body"] for leaf in stage.recorded("Finding") if leaf["body"].get("observed_at", "") >= format_time(began)]
            outcomes = [_outcome(one, findings) for one in tried]
            if all(one.alerted for one in outcomes) or time.monotonic() > deadline:
                return outcomes
            time.sleep(3)


def _attack_service(stage: Stage, service: str, attacks: Sequence[Attack], pod_number: int = 0) -> list[Outcome]:
    """One after the other, in one pod of the service."""
    pod, tried = stage.pods(service)[pod_number], []
    for one in attacks:
        error = ""
        try:
            stage.run_in(pod, one.script)
        except LabError as failure:
            error = str(failure).splitlines()[-1][-200:]
        tried.append(Outcome(attack=one, pod=f"{pod['metadata']['namespace']}/{pod['metadata']['name']}", error=error))
    return tried


def _outcome(tried: Outcome, findings: Sequence[Object]) -> Outcome:
    levels = ("Info", "Low", "Medium", "High", "Critical")
    named = [body for body in findings if body["pod"] == tried.pod and tried.attack.path in body["path"]]
    if not named:
        return tried
    gravest = max(named, key=lambda body: levels.index(body["level"]))
    return Outcome(attack=tried.attack, pod=tried.pod, error=tried.error, level=gravest["level"], rule=gravest["rule"])


def check_silent(stage: Stage, attacks: Sequence[Attack], *, patience_s: float) -> list[Outcome]:
    """Those that are silent by design, in the second pod: waits so long, and says what was told nevertheless."""
    began = time.time()
    tried: list[Outcome] = []
    with step(f"{len(attacks)} changes that are silent by design"):
        for one in attacks:
            tried += _attack_service(stage, one.service, [one], pod_number=1)
        time.sleep(patience_s)
    findings = [leaf["body"] for leaf in stage.recorded("Finding") if leaf["body"].get("observed_at", "") >= format_time(began)]
    return [_outcome(one, findings) for one in tried]
