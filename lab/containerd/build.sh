#!/bin/bash
# Builds a newer containerd and runc than the distribution's from the pinned go.sum, nothing resolved anew: build.sh OUTDIR
set -euo pipefail
cd "$(dirname "$0")"
out=${1:?usage: build.sh OUTDIR}; mkdir -p "$out"
build() { go build -p "${JOBS:-2}" -mod=readonly -buildvcs=false -trimpath "$@"; }
containerd=github.com/containerd/containerd/v2
version=$(go list -m -f '{{.Version}}' $containerd)
CGO_ENABLED=0 build -ldflags "-s -w -X $containerd/version.Version=$version" -o "$out/" \
  $containerd/cmd/containerd $containerd/cmd/containerd-shim-runc-v2 $containerd/cmd/ctr
version=$(go list -m -f '{{.Version}}' github.com/opencontainers/runc)
CGO_ENABLED=1 build -tags seccomp -ldflags "-s -w -X main.version=${version#v}" -o "$out/" github.com/opencontainers/runc
