"""Where the harness keeps things, and how it says that something is wrong.

In: environment variables. Out: directories. Never creates one.
"""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


class LabError(Exception):
    """The harness could not do what was asked; the message says what is wrong and what to do."""


def cache_dir() -> Path:
    """Slow builds, outside the tree: INTACT_CACHE, else intact/ in the user's cache directory (XDG base directories)."""
    return _choose("INTACT_CACHE", "XDG_CACHE_HOME", ".cache")


def state_dir() -> Path:
    """What runs now: INTACT_STATE, else intact/ in the user's state directory (XDG base directories)."""
    return _choose("INTACT_STATE", "XDG_STATE_HOME", ".local/state")


def _choose(own: str, base: str, default: str) -> Path:
    if named := os.environ.get(own):
        return Path(named).absolute()
    parent = os.environ.get(base)
    return (Path(parent) if parent else Path.home() / default).absolute() / "intact"
