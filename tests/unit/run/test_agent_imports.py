"""What the agent leaves unloaded: it runs on every node, in little memory, and has no use for the cluster's libraries."""

from __future__ import annotations

import subprocess
import sys

FORBIDDEN = ("alembic", "fastapi", "lightkube", "obstore", "psycopg", "sigstore", "sqlalchemy", "uvicorn", "yaml")


def test_the_agent_loads_no_library_of_the_controller() -> None:
    script = f"import sys, intact.run.node.agent; print([name for name in {FORBIDDEN!r} if name in sys.modules])"
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"
