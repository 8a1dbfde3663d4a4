"""Paths made of one name again and again, to have each file of a tree cost the agent what a whole look does: no claim about a path tries
every place at which it could begin."""

from __future__ import annotations

import time

import pytest

from intact.compare import places

NAMES = (
    b"php", b"php/conf", b"log", b"logs/x.log", b".git", b".git/modules", b"a.d", b"conf/Catalina", b"node_modules", b"@a", b"webapps",
    b"dist-packages", b".vim/pack", b".ssh", b".x-rc.d", b"etc", b"start.d", b"__pycache__/a.cpython-1", b".oh-my-zsh", b"x.php",
    b"META-INF", b"lib/security", b"config",
)  # fmt: skip
CLAIMS = (
    places.is_autostart, places.is_bare_module, places.is_code_name, places.is_configuration, places.is_configured_directory,
    places.is_credential, places.is_deployed_place, places.is_leading_link, places.is_library, places.is_loaded_place, places.is_log,
    places.is_page_name, places.is_served_name, places.is_static_place, places.is_system_place, places.cached_source,
)  # fmt: skip


@pytest.mark.parametrize("above", [b"", b"/etc", b"/opt", b"/root", b"/usr/local/share"])
@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_repeats_itself_costs_no_more_than_others(name: bytes, above: bytes) -> None:
    """Fifteen times as long as the longest path that is judged: what tries each place would need seconds."""
    path = above + (b"/" + name) * (60_000 // len(name)) + b"\n"
    for claim in CLAIMS:
        began = time.process_time()
        claim(path)
        assert time.process_time() - began < 0.5, claim
