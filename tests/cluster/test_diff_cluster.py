"""`kubectl intact diff` of a pod, through the API server: lines of text from the pod's node, no secrets, and an exit code that says what
is there."""

from __future__ import annotations

import subprocess

from lab.install import write_commands
from lab.layers import file
from tests.cluster.whole import PAGE, Installed, Shop

CLEAN, DIFFERENT, WRONG_INPUT = 0, 1, 10
CONF = "/etc/app.conf"
SECRET = "hunter2-hunter2"


def kubectl_intact(installed: Installed, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = f"{write_commands(installed.cluster)}:{installed.cluster.environment['PATH']}"
    environment = {**installed.cluster.environment, "PATH": path}
    command = ["kubectl", "intact", "diff", *arguments, "--cluster"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment)
    assert "Traceback" not in done.stderr and SECRET not in done.stdout + done.stderr
    return done


def test_a_pods_difference_is_shown_from_anywhere_without_its_secrets(installed: Installed, shop: Shop) -> None:
    config = file(CONF.encode(), f"workers 4\npassword: old-{SECRET}\n".encode())
    shop.deploy("web", installed.push("v1", upper_layers=[[config]]).digest)
    pod = shop.pods("web")[0]
    name, where = pod["metadata"]["name"], ("-n", shop.namespace)
    untouched = kubectl_intact(installed, name, *where)
    assert (untouched.returncode, untouched.stdout) == (CLEAN, ""), untouched.stderr
    assert f"asking the agent on {pod['spec']['nodeName']}" in untouched.stderr and "nothing differs" in untouched.stderr

    edit = "s/workers 4/workers 8/; s/old-/new-/"
    shop.run_in(pod, f"echo owned >{PAGE}; sed -i '{edit}' {CONF}; (cp /bin/busybox /var/sleep && exec /var/sleep 600) >/dev/null 2>&1 &")
    shown = kubectl_intact(installed, f"{shop.namespace}/{name}")
    assert shown.returncode == DIFFERENT, shown.stderr
    lines = [line.strip() for line in shown.stdout.splitlines()]
    assert {"-shop v1", "+owned", "-workers 4", "+workers 8", "+password: [redacted]"} <= set(lines)
    assert any(line.startswith("x /var/sleep") for line in lines), "what runs in the pod is shown too"
    assert {line.split()[1] for line in lines if line[:2] in ("~ ", "+ ", "x ")} == {PAGE, CONF, "/var/sleep"}

    missing = kubectl_intact(installed, "nobody", *where)
    assert missing.returncode == WRONG_INPUT and missing.stdout == "" and f"{shop.namespace}/nobody" in missing.stderr
