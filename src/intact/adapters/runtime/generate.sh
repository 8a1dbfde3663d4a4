#!/bin/sh
# Makes containerd_pb2.py and containerd_pb2.pyi from containerd.proto. Needed only after a change of that file; the compiler lives in a
# throw-away environment. Its version is an old one on purpose: generated code runs with its own or any newer protobuf.
set -eu
cd "$(dirname "$0")"
environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT
python3 -m venv "$environment"
"$environment/bin/pip" install --quiet 'grpcio-tools==1.71.2' 'setuptools<81'
"$environment/bin/python" -m grpc_tools.protoc -I. --python_out=. --pyi_out=. containerd.proto
