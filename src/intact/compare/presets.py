"""What stock services make of their own configuration and then run: by name, so that it can be told what is silent and why.

One table, cited by documentation. A preset is about a file that one program of the image maps; it never excuses a program that is started,
a set-user-ID bit, or the same path mapped by anybody else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """`path` (a regular expression of the whole path) may be mapped by `program`, the image's executable of that path. `hides`: what an
    attacker could do unseen."""

    id: str
    path: bytes
    program: bytes
    what: str
    hides: str
    _pattern: re.Pattern[bytes] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_pattern", re.compile(self.path, re.DOTALL))

    def covers(self, path: bytes, program: bytes) -> bool:
        return program == self.program and self._pattern.fullmatch(path) is not None


PRESETS: dict[str, Preset] = {
    preset.id: preset
    for preset in (
        Preset(
            id="varnish-vcl",
            path=rb"/var/lib/varnish/[^/]+/vcl_[^/]+/vgc\.so",
            program=b"/usr/sbin/varnishd",
            what="Varnish compiles its configuration (VCL) to a library and loads it, another one for each configuration and pod.",
            hides="Code that somebody plants in Varnish's working directory, who can also make Varnish load it.",
        ),
    )
}
"""By id."""


def find_preset(path: bytes, program: bytes) -> Preset | None:
    """The preset by which `program` may map `path`."""
    return next((preset for preset in PRESETS.values() if preset.covers(path, program)), None)
