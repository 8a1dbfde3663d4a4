"""The same command, carried out in the controller's pod, for what only its store knows; the cluster says who may (pods/exec)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence

from intact.model.errors import InputError, PermanentError

NAMESPACE = "intact-system"
_PROGRAM = ("/usr/bin/python3", "-IB", "-m", "intact")
_CHUNK_BYTES = 1 << 16


def call_in_controller(arguments: Sequence[str], *, namespace: str = NAMESPACE) -> Iterator[bytes]:
    """What `intact ARGUMENTS` prints in the controller's pod. Raises InputError without kubectl, PermanentError when it fails."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise InputError("--cluster needs kubectl on the PATH", hint="or run the command in the controller's pod")
    command = [kubectl, "-n", namespace, "exec", "deploy/intact-controller", "-c", "controller", "--", *_PROGRAM, *arguments]
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, stdin=subprocess.DEVNULL) as running:
            assert running.stdout is not None
            while chunk := running.stdout.read(_CHUNK_BYTES):
                yield chunk
        if running.returncode:
            said.seek(0)
            reason = said.read(4096).decode("utf-8", "replace").strip()
            raise PermanentError(f"the controller could not be asked: {reason}", code="InCluster")
