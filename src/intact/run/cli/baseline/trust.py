"""`intact baseline trust`: the file that says whose signatures count (docs/keys.md)."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from intact.adapters.keys.signing import read_key_file
from intact.adapters.store.atomic import write_atomically
from intact.baseline.signing import PublicKey
from intact.baseline.trust import TrustedKey, TrustRoot, format_time
from intact.baseline.trust_document import check_id, describe_trust, encode_trust, parse_time, parse_trust
from intact.model.errors import InputError
from intact.run.cli.output import check_replaceable
from intact.run.trust import read_trust_root

from .files import PATH, clean, naming


@click.group()
def command() -> None:
    """Keeps a trust root: which keys may sign, from when until when, and which never again."""


@command.command("show")
@click.argument("file", type=PATH)
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print the result.")
def show(file: Path, output: str) -> None:
    """Lists the keys of FILE, and whether they count now."""
    root, now = read_trust_root(file), time.time()
    if output == "json":
        click.echo(json.dumps(describe_trust(root), indent=2))
        return
    refused = root.for_new(now).refused
    click.echo(f"version {root.version}")
    for one in root.keys:
        until = f"until {format_time(one.valid_until)}" if one.valid_until is not None else ""
        told = refused.get(one.key.id) or f"counts {until}"
        click.echo(f"{one.key.id}  {one.key.type:<10}  {clean(one.name) or '-'}  {clean(told).strip()}")
    for gone in root.revoked:
        if not any(one.key.id == gone.id for one in root.keys):
            click.echo(f"{gone.id}  {'-':<10}  -  {clean(refused[gone.id])}")


@command.command("add")
@click.argument("file", type=PATH)
@click.argument("key", type=PATH, metavar="K.pub")
@click.option("--name", default="", metavar="TEXT", help="What people call the key.")
@click.option("--from", "valid_from", metavar="TIME", help="Counts only from then on: 2027-01-31 or 2027-01-31T12:00:00Z.")
@click.option("--until", "valid_until", metavar="TIME", help="Counts for what is taken in before then.")
def add(file: Path, key: Path, name: str, valid_from: str | None, valid_until: str | None) -> None:
    """Adds the public key K.pub to FILE, and makes FILE if it is not there."""
    root = _open(file) if file.exists() else TrustRoot(version=0)
    added = TrustedKey(
        key=_read_key(key),
        name=name,
        valid_from=parse_time(valid_from) if valid_from else None,
        valid_until=parse_time(valid_until) if valid_until else None,
    )
    _write(file, root.add(added))
    click.echo(added.key.id)


@command.command("expire")
@click.argument("file", type=PATH)
@click.argument("key", metavar="KEY")
@click.option("--at", metavar="TIME", help="When it ends: 2027-01-31 or 2027-01-31T12:00:00Z; now by default.")
def expire(file: Path, key: str, at: str | None) -> None:
    """Ends KEY: nothing new counts by it from then on, what was taken in before stays good.

    KEY is an id, its unique beginning, a name, or K.pub.
    """
    root = _open(file)
    _write(file, root.expire(_find(root, key), parse_time(at) if at else float(int(time.time()))))


@command.command("revoke")
@click.argument("file", type=PATH)
@click.argument("key", metavar="KEY")
@click.option("--reason", required=True, metavar="TEXT", help="Why, for those who meet one of its signatures.")
def revoke(file: Path, key: str, reason: str) -> None:
    """Revokes KEY: nothing it ever signed counts, whenever that was. There is no way back.

    KEY is an id, its unique beginning, a name, or K.pub; a whole id need not be in FILE.
    """
    root = _open(file) if file.exists() else TrustRoot(version=0)
    _write(file, root.revoke(_find(root, key), float(int(time.time())), reason))


def _open(file: Path) -> TrustRoot:
    root = read_trust_root(file)
    if root.version == 0:
        raise InputError(f"{file} is a single key, not a trust root", hint="begin one: intact baseline trust add FILE K.pub")
    return root


def _read_key(file: Path) -> PublicKey:
    data = read_key_file(file)
    with naming(str(file)):
        return PublicKey.from_pem(data)


def _find(root: TrustRoot, wanted: str) -> str:
    """The id of the key that `wanted` names."""
    if Path(wanted).is_file():
        return _read_key(Path(wanted)).id
    beginning = wanted if wanted.startswith("sha256:") else f"sha256:{wanted}"
    found = {one.key.id for one in root.keys if one.name == wanted or one.key.id.startswith(beginning)}
    if len(found) == 1:
        return found.pop()
    if found:
        raise InputError(f"{wanted!r} means {len(found)} keys", hint="write more of the id")
    if len(wanted) == 71:
        return check_id(wanted)
    raise InputError(f"the trust root has no key {wanted!r}", hint="intact baseline trust show FILE lists them")


def _write(file: Path, root: TrustRoot) -> None:
    check_replaceable(file)
    data = encode_trust(root) if file.suffix == ".json" else _to_yaml(root)
    if parse_trust(data) != root:
        raise InputError("a name or reason in the trust root cannot be written as it is", hint="use plain printable text")
    write_atomically(file, [data], mode=0o644)
    click.echo(f"{file}: version {root.version}", err=True)


def _to_yaml(root: TrustRoot) -> bytes:
    import yaml

    class Blocks(yaml.SafeDumper):
        """Keys in PEM as blocks of lines."""

    def show_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)

    Blocks.add_representer(str, show_text)
    text: str = yaml.dump(describe_trust(root), Dumper=Blocks, sort_keys=False, allow_unicode=False)
    return text.encode()
