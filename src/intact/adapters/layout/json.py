"""Small JSON files of untrusted images, bounded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from intact.model.errors import InputError

MAX_JSON_BYTES = 8 << 20


def read_json(path: Path, what: str) -> Any:
    """The document in `path`; raises InputError if it is missing, too large or not JSON."""
    try:
        with path.open("rb") as file:
            return parse_json(file.read(MAX_JSON_BYTES + 1), f"{what}: {path.name}")
    except OSError as error:
        raise InputError(f"{what}: cannot read {path.name}: {error.strerror}", code="Layout", hint="does the path exist?") from None


def parse_json(data: bytes, what: str) -> Any:
    if len(data) > MAX_JSON_BYTES:
        raise InputError(f"{what} is larger than {MAX_JSON_BYTES} bytes", code="Layout")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise InputError(f"{what} is not JSON", code="Layout") from None
