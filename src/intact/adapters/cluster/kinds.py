"""The kinds of objects that Intact reads and writes."""

from __future__ import annotations

from dataclasses import dataclass

from intact.model.policy import API_VERSION, GROUP

VERSION = API_VERSION.removeprefix(f"{GROUP}/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind as the API server addresses it; `group` is empty for the core."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


POD = Kind(group="", version="v1", kind="Pod", plural="pods")
MACHINE = Kind(group="", version="v1", kind="Node", plural="nodes", namespaced=False)
"""A Node of Kubernetes itself; `NODE` is what Intact says of one."""
CONFIG_MAP = Kind(group="", version="v1", kind="ConfigMap", plural="configmaps")
SECRET = Kind(group="", version="v1", kind="Secret", plural="secrets")
DEPLOYMENT = Kind(group="apps", version="v1", kind="Deployment", plural="deployments")
REPLICA_SET = Kind(group="apps", version="v1", kind="ReplicaSet", plural="replicasets")
LEASE = Kind(group="coordination.k8s.io", version="v1", kind="Lease", plural="leases")
EVENT = Kind(group="events.k8s.io", version="v1", kind="Event", plural="events")
TOKEN_REVIEW = Kind(group="authentication.k8s.io", version="v1", kind="TokenReview", plural="tokenreviews", namespaced=False)
ACCESS_REVIEW = Kind(
    group="authorization.k8s.io", version="v1", kind="SubjectAccessReview", plural="subjectaccessreviews", namespaced=False
)

POLICY = Kind(group=GROUP, version=VERSION, kind="IntegrityPolicy", plural="integritypolicies")
CLUSTER_POLICY = Kind(group=GROUP, version=VERSION, kind="ClusterIntegrityPolicy", plural="clusterintegritypolicies", namespaced=False)
INCIDENT = Kind(group=GROUP, version=VERSION, kind="IntegrityIncident", plural="integrityincidents")
REMEDIATION = Kind(group=GROUP, version=VERSION, kind="Remediation", plural="remediations")
NODE = Kind(group=GROUP, version=VERSION, kind="NodeIntegrity", plural="nodeintegrities", namespaced=False)
BASELINE = Kind(group=GROUP, version=VERSION, kind="ImageBaseline", plural="imagebaselines", namespaced=False)
OWN_KINDS = (POLICY, CLUSTER_POLICY, INCIDENT, REMEDIATION, NODE, BASELINE)
