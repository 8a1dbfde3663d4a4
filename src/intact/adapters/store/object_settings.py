"""How a bucket is reached; apart from `objects`, so that a process that has none needs none of its library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectSettings:
    """`url`: `s3://BUCKET[/PREFIX]` or `file:///DIRECTORY`. `endpoint`: of a server that is not AWS. `plain_http` allows an endpoint
    without TLS. `ca_file`: PEM, trusted beside the system's authorities. `virtual_hosted`: the bucket's name stands in the host's."""

    url: str
    endpoint: str = ""
    region: str = ""
    ca_file: Path | None = None
    plain_http: bool = False
    virtual_hosted: bool = False
