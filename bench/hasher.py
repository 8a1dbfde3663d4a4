"""The compiled peer: a Go program that walks a directory and hashes every file with SHA-256 in workers, as integrity sidecars do."""

from pathlib import Path

from lab.golang import ensure_go, go_environment
from lab.processes import run

SOURCE = Path(__file__).parent / "sidecar"


def build_hasher(out: Path) -> Path:
    """Compiles it; nothing is downloaded but, where the machine has none, the toolchain."""
    go = ensure_go()
    run(go, "build", "-trimpath", "-o", out, "main.go", cwd=SOURCE, env={**go_environment(go), "CGO_ENABLED": "0"})
    return out
