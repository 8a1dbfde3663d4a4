#!/bin/bash
# Builds every `tool` of go.mod from the pinned go.sum, nothing resolved anew: build.sh OUTDIR
set -euo pipefail
cd "$(dirname "$0")"
out=${1:?usage: build.sh OUTDIR}; mkdir -p "$out"
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes); minor=${version#v1.}; minor=${minor%%.*}
flags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  flags="$flags -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=$minor -X $package.gitTreeState=clean"
  flags="$flags -X $package.gitCommit=0000000000000000000000000000000000000000 -X $package.buildDate=2026-01-01T00:00:00Z"
done
CGO_ENABLED=0 go build -p "${JOBS:-2}" -mod=readonly -buildvcs=false -trimpath -ldflags "$flags" -o "$out/" tool
mv "$out/server" "$out/etcd"
