#!/bin/sh
set -eu
date >/var/lib/report/started
exec "$@"
