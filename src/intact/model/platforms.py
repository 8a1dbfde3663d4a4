"""Platforms as OCI names them: `os/architecture[/variant]` (image-spec, image-index.md). Empty: nobody says."""

from __future__ import annotations

from collections.abc import Collection


def fits(offered: str, wanted: str) -> bool:
    """Whether `offered` is the wanted platform; a variant counts only where both name one."""
    have, want = offered.split("/"), wanted.split("/")
    return have[:2] == want[:2] and (len(have) < 3 or len(want) < 3 or have[2] == want[2])


def pick_platform(offered: Collection[str], wanted: str) -> str | None:
    """Which of the platforms that share a name a lookup means: the wanted one, exactly or the only one that fits; where none is wanted, the
    only one there is. None where that is nobody, or several: never another platform than the wanted one."""
    if wanted in offered and wanted:
        return wanted
    fitting = [platform for platform in offered if not platform or not wanted or fits(platform, wanted)]
    return fitting[0] if len(fitting) == 1 else None
