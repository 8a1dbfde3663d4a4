"""What a registry answers to a request without, or with the wrong, credentials: `WWW-Authenticate` (RFC 9110 §11.6.1).

In: the header's values. Out: the challenges in them, in order. Bounded; what is no challenge is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MAX_HEADER = 8192
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*(?:,|$)', re.DOTALL)
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?:\s+|$)")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """`scheme` and the names of `parameters` in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(unverified_values: Iterable[str]) -> tuple[Challenge, ...]:
    found = []
    for value in unverified_values:
        value, at = value[:MAX_HEADER], 0
        while scheme := _SCHEME.match(value, at):
            at = scheme.end()
            parameters: dict[str, str] = {}
            while parameter := _PARAMETER.match(value, at):
                at = parameter.end()
                name, quoted, plain = parameter.groups()
                parameters.setdefault(name.lower(), _ESCAPED.sub(r"\1", quoted) if quoted is not None else plain)
            found.append(Challenge(scheme=scheme[1].lower(), parameters=parameters))
    return tuple(found)
