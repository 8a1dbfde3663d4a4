#!/bin/bash
# Installs the Debian packages that the harness and the tests need: setup.sh [MORE PACKAGES ...]
# Nothing happens, and no root is needed, when all are there. Services that come with the packages are neither started nor enabled.
set -euo pipefail

packages=(
  python3-venv ca-certificates                                   # the Python environment
  containerd runc containernetworking-plugins                    # container runtime
  iproute2 iptables nftables kmod                                # networks of the nodes
  docker-registry skopeo mmdebstrap busybox-static               # registry and images
  gcc libc6-dev                                                  # the pause program
  libseccomp-dev pkg-config                                      # a newer runc
  rsyslog                                                        # a real receiver of alerts
  podman crun                                                    # containers-storage
  postgresql                                                     # the store of many replicas
  mtree-netbsd libarchive-tools                                  # other people's lists of files
  xfsprogs btrfs-progs erofs-utils                               # other file systems below the snapshots
  qemu-system-x86 cpio xz-utils e2fsprogs                        # other kernels
  "$@"
)
services=(containerd docker-registry rsyslog postgresql podman podman-auto-update podman-restart)

missing=()
installed=" $(dpkg-query -W -f '${db:Status-Abbrev}${binary:Package}\n' 2>/dev/null | sed -n 's/^ii *\([^:]*\).*/\1/p' | tr '\n' ' ')"
for package in "${packages[@]}"; do
  [[ $installed == *" $package "* ]] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "error: this machine has no apt-get; install the counterparts of these Debian packages: ${missing[*]}" >&2
  exit 1
fi
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "error: run as root, or install sudo, to install: ${missing[*]}" >&2; exit 1; }
  exec sudo bash "$0" "$@"
fi

new=()
for service in "${services[@]}"; do
  [[ " ${missing[*]} " == *" $service "* ]] && new+=("$service")
done

# invoke-rc.d and deb-systemd-invoke ask this file whether a service may start (invoke-rc.d(8)).
policy=/usr/sbin/policy-rc.d
log=$(mktemp)
made=
finish() {
  [ -n "$made" ] && rm -f "$policy"
  rm -f "$log"
}
trap finish EXIT
trap 'exit 130' INT TERM
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  made=yes
fi

install() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get -q -o Acquire::Retries=3 update && apt-get -q -o Acquire::Retries=3 install -y --no-install-recommends "${missing[@]}"
}
SECONDS=0
echo "Debian packages: ${missing[*]}" >&2
install >"$log" 2>&1 &
installer=$!
while kill -0 "$installer" 2>/dev/null; do
  sleep 1
  [ $((SECONDS % 10)) -eq 0 ] && echo "Debian packages … ${SECONDS} s $(tail -n 1 "$log" | cut -c 1-60)" >&2
done
if ! wait "$installer"; then
  tail -n 20 "$log" >&2
  echo "error: apt-get could not install ${missing[*]}; see above" >&2
  exit 1
fi
if [ ${#new[@]} -gt 0 ] && [ -d /run/systemd/system ]; then
  systemctl --quiet disable "${new[@]}" 2>/dev/null || true # not even at the next start of the machine
fi
echo "Debian packages: done in ${SECONDS} s" >&2
