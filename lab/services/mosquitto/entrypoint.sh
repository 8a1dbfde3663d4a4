#!/bin/sh
set -eu
[ "$(id -u)" = 0 ] && chown -R mosquitto:mosquitto /mosquitto
exec "$@"
