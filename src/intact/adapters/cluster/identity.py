"""Who is asking the controller: agents by their token, people by their token and their rights.

In: a bearer token (unverified). Out: an `AgentIdentity`, or a user's name; TrustError for everything else. The API server is asked each
time: whoever calls remembers answers, and never the token itself.
"""

from __future__ import annotations

from typing import Any

from intact.model.errors import TrustError
from intact.model.policy import GROUP
from intact.model.seam import AgentIdentity

from .api import Api
from .cache import ClusterCache
from .kinds import ACCESS_REVIEW, TOKEN_REVIEW

AUDIENCE = "intact"
"""The audience of the agents' projected tokens: the API server itself refuses such a token."""
_EXTRA = "authentication.kubernetes.io/"


class TokenReviewer:
    """Reviews tokens of agents. `namespace` and `service_account` name the only account an agent may have."""

    def __init__(self, api: Api, cache: ClusterCache, *, namespace: str, service_account: str) -> None:
        self._api, self._cache = api, cache
        self._account = f"system:serviceaccount:{namespace}:{service_account}"

    def identify(self, unverified_token: str) -> AgentIdentity:
        """Whose token it is.

        1. The API server vouches for it, for our audience. 2. It is the agents' account. 3. It is bound to a pod. 4. Its node is in the
        token, and where an older API server does not put it there, it is the node that the cluster knows this pod to be on.
        Raises TrustError `Unauthenticated` for 1 and 2, `UnknownNode` for 3 and 4; TemporaryError when the API does not answer.
        """
        # 1
        user = _review(self._api, unverified_token, AUDIENCE)
        # 2
        name = str(user.get("username", ""))
        if name != self._account:
            raise TrustError(f"{name} is not the agents' account {self._account}", code="Unauthenticated")
        # 3
        extra = user.get("extra") or {}
        pod_uid = _single(extra, "pod-uid")
        if not pod_uid:
            raise TrustError("the token is not bound to a pod", code="UnknownNode")
        # 4
        node = _single(extra, "node-name") or self._cache.node_of(pod_uid) or ""
        if not node:
            raise TrustError(f"the token names no node, and pod {pod_uid} is not known yet", code="UnknownNode")
        return AgentIdentity(node=node, pod_uid=pod_uid, service_account=name)


class AccessReviewer:
    """Reviews what people may read, by the cluster's own RBAC on Intact's API group."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def authorize(self, unverified_token: str, *, verb: str, resource: str, namespace: str = "") -> str:
        """The user's name. Raises TrustError `Unauthenticated`, or `Forbidden` naming what is missing."""
        user = _review(self._api, unverified_token, "")
        attributes = {"group": GROUP, "verb": verb, "resource": resource, "namespace": namespace}
        spec = {
            "user": user.get("username", ""),
            "uid": user.get("uid", ""),
            "groups": user.get("groups") or [],
            "extra": user.get("extra") or {},
            "resourceAttributes": attributes,
        }
        body = {"apiVersion": ACCESS_REVIEW.api_version, "kind": ACCESS_REVIEW.kind, "spec": spec}
        status = self._api.create(ACCESS_REVIEW, body, record=False).get("status") or {}
        if status.get("allowed") is not True:
            where = f"in namespace {namespace}" if namespace else "in all namespaces"
            raise TrustError(f"{spec['user']} may not {verb} {resource}.{GROUP} {where}", code="Forbidden")
        return str(spec["user"])


def _review(api: Api, unverified_token: str, audience: str) -> dict[str, Any]:
    """The user of a TokenReview (authentication.k8s.io/v1); with `audience`, the token must be for it. Raises TrustError."""
    spec: dict[str, Any] = {"token": unverified_token}
    if audience:
        spec["audiences"] = [audience]
    body = {"apiVersion": TOKEN_REVIEW.api_version, "kind": TOKEN_REVIEW.kind, "spec": spec}
    status = api.create(TOKEN_REVIEW, body, record=False).get("status") or {}
    if status.get("authenticated") is not True:
        raise TrustError("the cluster does not know this token", code="Unauthenticated")
    # An authenticator that knows no audiences answers without any (TokenReviewSpec.audiences): that proves nothing.
    if audience and audience not in (status.get("audiences") or []):
        raise TrustError(f"the token is not for the audience {audience}", code="Unauthenticated")
    user = status.get("user") or {}
    return dict(user)


def _single(extra: dict[str, Any], key: str) -> str:
    values = extra.get(_EXTRA + key) or []
    return str(values[0]) if len(values) == 1 else ""
