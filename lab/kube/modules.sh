#!/bin/bash
# Makes go.mod and go.sum for one Kubernetes version (run once per version, commit the two files): modules.sh v1.35.4
# The replace list is that version's own staging list; `go list -deps tool` fills the requirements without upgrading
# anything, which `go get` would. etcd and helm come from the same module graph, so one build cache serves all.
set -euo pipefail
cd "$(dirname "$0")"
version=${1:?usage: modules.sh vMAJOR.MINOR.PATCH [HELM_VERSION]}; helm=${2:-v3.20.2}; staging=v0.${version#v1.}
rm -f go.mod go.sum
go mod init intact.dev/lab/kube
go mod edit -require="k8s.io/kubernetes@$version" -require="helm.sh/helm/v3@$helm"
upstream=$(go mod download -json "k8s.io/kubernetes@$version" | python3 -c 'import json,sys; print(json.load(sys.stdin)["GoMod"])')
go mod edit -json "$upstream" | python3 -c '
import json, sys
for replace in json.load(sys.stdin)["Replace"]:
    if replace["New"]["Path"].startswith("./staging/"):
        print(replace["Old"]["Path"])' |
while read -r module; do go mod edit -replace="$module=$module@$staging"; done
go mod edit -tool=go.etcd.io/etcd/server/v3 -tool=helm.sh/helm/v3/cmd/helm
for command in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
  go mod edit -tool="k8s.io/kubernetes/cmd/$command"
done
go mod edit -go=1.25.0
go list -mod=mod -deps tool >/dev/null
