"""What cosign really wrote, with README.md beside it: one image, two keys, three forms."""

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

from intact.baseline.ports import UnverifiedSignature
from intact.baseline.signing import PublicKey
from intact.model.digest import Digest

DIRECTORY = Path(__file__).parent / "cosign"
IMAGE = Digest.parse("sha256:b5808be5d4d9753eed818dd7424dccc5a4b18f8a16927caf827a355c074004b0")
P256, ED25519 = (PublicKey.from_pem((DIRECTORY / name).read_bytes()) for name in ("cosign.pub", "ed25519.pub"))
TAG_MANIFEST: dict[str, Any] = json.loads((DIRECTORY / "tag.manifest.json").read_bytes())


def read(name: str) -> bytes:
    return (DIRECTORY / name).read_bytes()


def _signature(layer: int) -> bytes:
    return b64decode(TAG_MANIFEST["layers"][layer]["annotations"]["dev.cosignproject.cosign/signature"])


SIMPLE = UnverifiedSignature(form="simple", payload=read("payload.json"), signature=_signature(0))
ANNOTATED = UnverifiedSignature(form="simple", payload=read("payload-annotated.json"), signature=_signature(1))
BUNDLE = UnverifiedSignature(form="bundle", payload=read("bundle.json"))
EVERY = (SIMPLE, ANNOTATED, BUNDLE)
