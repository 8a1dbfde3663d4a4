"""The options of every command that talks to a registry, as one record."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from intact.adapters.registry.access import MAX_CONCURRENCY, RegistryAccess, check_host, collect_mirrors
from intact.adapters.registry.credentials import find_auth_files
from intact.model.errors import InputError

_PATH = click.Path(path_type=Path)
_OPTIONS = (
    click.option("--plain-http", multiple=True, metavar="HOST[:PORT]", help="Ask this registry without TLS; may be repeated."),
    click.option(
        "--insecure-tls", multiple=True, metavar="HOST[:PORT]", help="Do not verify this registry's certificate; may be repeated."
    ),
    click.option("--ca", multiple=True, type=_PATH, metavar="FILE", help="Trust this authority too (PEM); may be repeated."),
    click.option("--mirror", multiple=True, metavar="HOST=MIRROR", help="Read from MIRROR[/PREFIX] before HOST; repeat it in their order."),
    click.option(
        "--auth-file", type=_PATH, metavar="FILE", help="Credentials, as docker login or podman login write them, instead of theirs."
    ),
    click.option("--concurrency", type=click.IntRange(1, MAX_CONCURRENCY), default=3, show_default=True, help="Layers read at once."),
)


def registry_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options; the command gets them as `access`, a RegistryAccess."""

    @functools.wraps(function)
    def wrapper(
        *args: Any,
        plain_http: tuple[str, ...],
        insecure_tls: tuple[str, ...],
        ca: tuple[Path, ...],
        mirror: tuple[str, ...],
        auth_file: Path | None,
        concurrency: int,
        **others: Any,
    ) -> Any:
        access = RegistryAccess(
            plain_http=frozenset(check_host(host) for host in plain_http),
            insecure_tls=frozenset(check_host(host) for host in insecure_tls),
            ca_files=ca,
            mirrors=collect_mirrors(_split(text) for text in mirror),
            auth_files=(auth_file,) if auth_file else find_auth_files(os.environ, Path.home()),
            use_credential_helpers=True,
            concurrency=concurrency,
        )
        return function(*args, access=access, **others)

    for option in reversed(_OPTIONS):
        wrapper = option(wrapper)
    return wrapper


def _split(text: str) -> tuple[str, str]:
    host, equals, mirror = text.partition("=")
    if not equals:
        raise InputError(f"--mirror {text[:200]!r} is not HOST=MIRROR", code="RegistryHost")
    return host, mirror


def tell_notes(source: object) -> None:
    """Says on stderr which mirror served and which failed, where there are mirrors."""
    for note in getattr(source, "notes", ()):
        click.echo(note, err=True)
