"""The key of the audit log where several replicas write it: in the controller's Secret, and on each replica's disk as if it had made it.

In: the Secret, a state directory. Out: the same key file in every replica. The replica that acts makes what is missing, once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from intact.adapters.keys.signing import generate_key
from intact.adapters.keys.tls import CertificateStore
from intact.model.errors import TemporaryError
from intact.run.storage.memory import AUDIT_KEY

log = structlog.get_logger()

FILES = (f"{AUDIT_KEY}.pem", f"{AUDIT_KEY}.pub")
RETRY_S = 0.5


def share_audit_key(store: CertificateStore, directory: Path, *, may_make: Callable[[], bool], stop: threading.Event) -> None:
    """Returns when the key is on the disk, or `stop` is set.

    1. What the Secret has is written to the disk. 2. What it lacks is made, or taken from the disk, by the replica that acts. 3. Should two
    do so at once, the first one's key is everybody's.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    while not stop.is_set():
        before = dict(store.read())
        if all(name in before for name in FILES):
            for name in FILES:
                _write(directory / name, before[name])  # 1
            return
        if may_make():
            if not (directory / FILES[0]).exists():
                generate_key(directory / AUDIT_KEY)  # 2
            try:
                store.replace(before | {name: (directory / name).read_bytes() for name in FILES}, read_before=before)
            except TemporaryError as error:
                log.info("audit_key_not_shared", reason=str(error))  # 3
            continue
        stop.wait(RETRY_S)


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)
