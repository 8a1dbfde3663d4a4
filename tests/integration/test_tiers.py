"""However well the kernel lets changes be heard, they are found: each tier as `intact watch --tier` sets it, on a real container."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import images
from lab.runtime import Runtime
from tests.integration.watching import Watching

NAME = "docker.io/local/tiers:1"
POLICY = """
apiVersion: intact.dev/v1alpha1
kind: ClusterIntegrityPolicy
metadata: {name: host}
spec: {watch: {interval: %s}}
"""


@pytest.fixture(scope="module")
def image(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> str:
    layout = images.busybox_image(tmp_path_factory.mktemp("tiers"), NAME, files={b"/srv/app/main.sh": b"echo shop\n"})
    runtime.import_image(layout)
    return NAME


@pytest.mark.parametrize(("tier", "interval"), [("A", "10m"), ("B", "10m"), ("C", "2s")])
def test_a_file_that_changes_twice_is_told_twice(runtime: Runtime, image: str, tmp_path: Path, tier: str, interval: str) -> None:
    """Where changes are heard, no timed look could find them within this test."""
    (tmp_path / "policy.yaml").write_text(POLICY % interval)
    id = f"tier-{tier.lower()}"
    runtime.run(image, id)
    try:
        with Watching(runtime.address, tmp_path / "state", "--tier", tier, "--policy", str(tmp_path / "policy.yaml")) as watch:
            assert watch.hear_verdict(id)["state"] == "Intact"
            for size, content in ((4, "evil"), (5, "worse")):
                runtime.exec(id, ["sh", "-c", f"printf {content} > /srv/app/main.sh"])
                told = watch.hear_finding("/srv/app/main.sh", "Modified")
                assert told["actual"]["size_bytes"] == size
            assert f"tier={tier}" in watch.talk() or f'"tier": "{tier}"' in watch.talk()
    finally:
        runtime.stop(id)
