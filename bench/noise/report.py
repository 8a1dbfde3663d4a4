"""What the benchmark found, as Markdown tables, and where they stand in the documentation.

In: a stage after a life and after attacks. Out: text. `replace_tables` writes it between two marks of a page and touches nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.noise.attacking import QUIET, Outcome
from bench.noise.life import Life
from bench.noise.stage import Object
from bench.noise.workloads import Workload

PHASES = "abcd"
BEGIN, END = "<!-- begin: python -m bench.noise -->", "<!-- end: python -m bench.noise -->"


def tabulate_services(workloads: Sequence[Workload], life: Life, findings: Sequence[Object], alerts: Sequence[Object]) -> str:
    """One row a service: what its first pod's writable layer held at the end of each phase, and what was told of all its pods."""
    lines = ["| service | a | b | c | d | MB | findings below Medium | alerts |", "|---|---|---|---|---|---|---|---|"]
    for one in workloads:
        mine = [leaf for leaf in findings if leaf["workload"].endswith(f"/{one.service}") and leaf["body"]["level"] in QUIET]
        told = [alert for alert in alerts if (alert.get("workload") or {}).get("name") == one.service]
        counts = " | ".join(str(life.counts[phase][one.service]) for phase in PHASES)
        lines.append(f"| {one.service} | {counts} | {life.counts['c'][one.service].size_bytes / 1e6:.1f} | {len(mine)} | {len(told)} |")
    return "\n".join(lines)


def tabulate_counted(counted: Mapping[str, Sequence[Object]]) -> str:
    """What was counted and told nobody, by service: `intact policy suggest` without what raised alerts."""
    lines = ["| service | pattern | rule | most in one container |", "|---|---|---|---|"]
    for service, rows in counted.items():
        most: Counter[tuple[str, str]] = Counter()
        for row in rows:
            if not row["alerts"]:
                most[row["pattern"], row["rule"]] = max(most[row["pattern"], row["rule"]], int(row["count"]))
        lines += [f"| {service} | `{pattern}` | {rule} | {count} |" for (pattern, rule), count in sorted(most.items())]
    return "\n".join(lines)


def tabulate_attacks(outcomes: Sequence[Outcome]) -> str:
    lines = ["| attack | service | path | told as |", "|---|---|---|---|"]
    for one in outcomes:
        told = f"{one.level}, {one.rule}" if one.level else f"**nothing** {one.error}".strip()
        lines.append(f"| {one.attack.what} | {one.attack.service} | `{one.attack.path}` | {told} |")
    return "\n".join(lines)


def tabulate_silent(outcomes: Sequence[Outcome]) -> str:
    lines = ["| change | service | path | why it is silent |", "|---|---|---|---|"]
    for one in outcomes:
        told = f" **told as {one.level}, {one.rule}**" if one.alerted else ""
        lines.append(f"| {one.attack.what} | {one.attack.service} | `{one.attack.path}` | {one.attack.why_silent}{told} |")
    return "\n".join(lines)


def replace_tables(page: Path, text: str) -> None:
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} lacks the lines {BEGIN!r} and {END!r}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
