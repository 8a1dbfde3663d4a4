"""The attacks of `attacks.yaml`: what is done in a running pod, and what must come of it.

In: the file beside this one. Out: `ATTACKS`, every one of which must alert, and `SILENT`, what is silent by design and why.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

TABLE = Path(__file__).with_name("attacks.yaml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """`script` runs in a pod of `service`; `path` is what a finding must name, or a part of it."""

    what: str
    service: str
    script: str
    path: str
    why_silent: str = ""


def _read(section: str) -> tuple[Attack, ...]:
    return tuple(Attack(**one) for one in yaml.safe_load(TABLE.read_text())[section])


ATTACKS = _read("alerts")
SILENT = _read("silent")
