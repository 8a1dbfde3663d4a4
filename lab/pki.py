"""The certificate authority, keys and kubeconfig files of one cluster.

In: a plan. Out: files in its state directory. Never reads or trusts a certificate of the machine.
"""

import base64
import datetime
import ipaddress
import json
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.plan import API_SERVICE_IP, ClusterPlan

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

API_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
LIFETIME = datetime.timedelta(days=365)


def write_credentials(plan: ClusterPlan) -> None:
    """Writes pki/*.crt, pki/*.key, tokens.csv and NAME.kubeconfig for every component and for the administrator."""
    directory = plan.state / "pki"
    directory.mkdir()
    authority = _Authority()
    authority.save(directory / "ca")
    addresses = [API_SERVICE_IP, plan.api_ip, "127.0.0.1"]
    authority.issue(directory / "apiserver", common_name="kube-apiserver", names=API_NAMES, addresses=addresses)
    authority.issue(directory / "kubelet-client", common_name="kube-apiserver-kubelet-client", organization="system:masters")
    for node in plan.every_node:
        authority.issue(
            directory / f"kubelet{node.number}",
            common_name=node.name,
            names=[node.name],
            addresses=[node.ip, "127.0.0.1"],
        )
    _save_key(directory / "sa.key", rsa.generate_private_key(public_exponent=65537, key_size=2048))

    users = {
        "admin": ("admin", "system:masters"),
        "manager": ("system:kube-controller-manager", ""),
        "scheduler": ("system:kube-scheduler", ""),
        "proxy": ("system:kube-proxy", ""),
    }
    users |= {f"kubelet{node.number}": (f"system:node:{node.name}", "system:nodes") for node in plan.every_node}
    lines = [f'{token(plan, name)},{user},{name},"{group}"' for name, (user, group) in users.items()]
    _save_private(plan.state / "tokens.csv", "\n".join(lines) + "\n")
    for name in users:
        _write_kubeconfig(plan, name)


def token(plan: ClusterPlan, name: str) -> str:
    """The bearer token of a component. Guessable by design: the API server listens on a bridge of this machine only."""
    return f"lab{plan.id}-{name}"


def issue_server_certificate(directory: Path, address: str) -> tuple[Path, Path, Path]:
    """A new authority and a certificate of its for a server at an IP address: (certificate, key, authority), PEM files in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = _Authority()
    authority.save(directory / "ca")
    authority.issue(directory / "server", common_name="lab-server", names=["localhost"], addresses=[address])
    return directory / "server.crt", directory / "server.key", directory / "ca.crt"


def _write_kubeconfig(plan: ClusterPlan, name: str) -> None:
    authority = base64.b64encode((plan.state / "pki/ca.crt").read_bytes()).decode()
    context = f"intact-lab{plan.id}"
    server = {"server": f"https://{plan.api_ip}:6443", "certificate-authority-data": authority}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{"name": context, "cluster": server}],
        "users": [{"name": name, "user": {"token": token(plan, name)}}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": name}}],
    }
    _save_private(plan.state / f"{name}.kubeconfig", json.dumps(config))


class _Authority:
    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "intact-lab-ca")])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        builder = _describe(self.name, self.name, self.key).add_extension(constraints, critical=True)
        self.certificate = builder.sign(self.key, hashes.SHA256())

    def save(self, path: Path) -> None:
        path.with_suffix(".crt").write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        _save_key(path.with_suffix(".key"), self.key)

    def issue(
        self,
        path: Path,
        *,
        common_name: str,
        organization: str | None = None,
        names: tuple[str, ...] | list[str] = (),
        addresses: tuple[str, ...] | list[str] = (),
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
        if organization:
            attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = _describe(x509.Name(attributes), self.name, key).add_extension(usage, critical=False)
        if names or addresses:
            alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
            alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        path.with_suffix(".crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _save_key(path.with_suffix(".key"), key)


def _describe(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
    )


def _save_key(path: Path, key: PrivateKey) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _save_private(path, pem.decode())


def _save_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
