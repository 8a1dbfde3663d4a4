"""The page on the default rules says what the code does."""

from __future__ import annotations

from pathlib import Path

from intact.compare.presets import PRESETS, find_preset
from intact.observe import derive

PAGE = (Path(__file__).parents[3] / "docs/rules.md").read_text()


def test_every_preset_is_documented_with_what_it_could_hide() -> None:
    rows = [line for line in PAGE[PAGE.index("## Presets") :].splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{one.id}` | `{one.path.decode()}` | `{one.program.decode()}` | {one.what} | {one.hides} |" for one in PRESETS.values()
    ]


def test_a_preset_covers_its_program_and_its_path_alone() -> None:
    path, program = b"/var/lib/varnish/web/vcl_boot.1/vgc.so", b"/usr/sbin/varnishd"
    assert find_preset(path, program) is PRESETS["varnish-vcl"]
    assert find_preset(path, b"/tmp/varnishd") is None
    assert find_preset(path + b"\n", program) is None
    assert find_preset(b"/tmp/var/lib/varnish/web/vcl_boot.1/vgc.so", program) is None
    assert find_preset(b"/var/lib/varnish/web/sub/vcl_boot.1/vgc.so", program) is None


def test_the_bounds_are_those_of_the_code() -> None:
    bounds = derive.MAX_SOURCE_BYTES, derive.MAX_ARCHIVE_BYTES, derive.MAX_MEMBER_BYTES
    assert bounds == (2 << 20, 256 << 20, 64 << 20)
    assert "sources over 2 MiB" in PAGE and "Archives over 256 MiB, members over 64 MiB" in PAGE
