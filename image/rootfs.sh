#!/bin/bash
# Builds the root file system of Intact's image from Debian packages and pinned wheels, without a container builder:
#   rootfs.sh OUT                        all of it
#   rootfs.sh dependencies OUT           Python, certificates, libraries: changes rarely
#   rootfs.sh program OUT DEPENDENCIES   Intact's own code, compiled by the Python of DEPENDENCIES
# There is no shell, no package manager and no setuid file in it. The same inputs give the same files, times included.
# PIP: how to call pip (default: python3 -m pip). WHEELS: which lock file beside this script (default: requirements.lock;
# requirements-keyless.lock has what verifies signatures made with an identity). Needs mmdebstrap, and root for the owners of the files.
set -euo pipefail
umask 022

suite=trixie
python=3.13
export SOURCE_DATE_EPOCH=1700000000 LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
library=usr/lib/python$python
packages=usr/lib/python3/dist-packages

run_python() { # run_python ROOT ARGUMENTS: the Python of ROOT, without entering it, so it needs no right and no mount
  local root=$1; shift
  PYTHONHOME=$root/usr PYTHONDONTWRITEBYTECODE=1 "$root"/lib64/ld-linux-*.so.* --library-path "$(echo "$root"/usr/lib/*-linux-gnu)" \
    "$root/usr/bin/python$python" -s "$@"
}

compile() { # compile ROOT OUT PATH: bytecode that Python takes without looking at the source's time (PEP 552)
  run_python "$1" -m compileall -q -f --invalidation-mode unchecked-hash -s "$2" -p / "$2/$3"
}

settle() { # settle OUT: owners and times that do not depend on the build
  find "$1" -xdev -exec chown -h 0:0 {} +
  if [ -d "$1/var/lib/intact" ]; then chown 65532:65532 "$1/var/lib/intact"; fi
  find "$1" -xdev -perm /7000 ! -type l ! -path "$1/tmp" -exec chmod u-s,g-s,-t {} +
  find "$1" -xdev -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

install_debian() {
  # chrootless: packages are unpacked and never run, so this works inside a container, too.
  # ca-certificates is unpacked by hand: its dependencies (openssl, debconf, perl) only serve its installation.
  mmdebstrap --quiet --aptopt='Acquire::Retries "3"' --mode=chrootless --variant=extract --include="python$python-minimal,libpython$python-stdlib" \
    --extract-hook='cd "$1/tmp" && APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -qq download ca-certificates && dpkg-deb -x ca-certificates*.deb "$1" && rm ca-certificates*.deb' \
    "$suite" "$1"
  for directory in bin lib lib64; do
    if [ -d "$1/usr/$directory" ] && [ ! -e "$1/$directory" ]; then ln -s "usr/$directory" "$1/$directory"; fi
  done
  cat "$1"/usr/share/ca-certificates/mozilla/*.crt >"$1/certificates"
  local licences=$1/licences
  mkdir "$licences"
  for copyright in "$1"/usr/share/doc/*/copyright; do
    if [ -f "$copyright" ]; then cp "$copyright" "$licences/$(basename "$(dirname "$copyright")")"; fi
  done
  rm -rf "${1:?}"/{dev,etc,var,tmp} "$1"/usr/{games,include,sbin,src,local,share} "$1"/usr/bin/debconf* \
    "$1"/usr/lib/{apt,binfmt.d,dpkg,mime,systemd,tmpfiles.d} "$1"/usr/lib/*-linux-gnu/{gconv,perl*,engines-3} \
    "$1/$library"/{ensurepip,idlelib,lib2to3,pydoc_data,test,tkinter,turtledemo,turtle.py,venv,_pyrepl,__pycache__,sitecustomize.py,EXTERNALLY-MANAGED}
  # Terminals, dbm files and the C library's own debugging aids: nothing here loads them.
  rm -f "$1/$library"/lib-dynload/{_curses,_curses_panel,_dbm,readline}.*.so \
    "$1"/usr/lib/*-linux-gnu/lib{db-*,formw,history,menuw,ncursesw,panelw,readline,tic,tinfo,expatw,uuid}.so* \
    "$1"/usr/lib/*-linux-gnu/lib{BrokenLocale,c_malloc_debug,memusage,nsl,nss_compat,nss_hesiod,pcprofile,thread_db}.so*
  find "$1/usr" -name __pycache__ -prune -exec rm -rf {} +
  ln -s "python$python" "$1/usr/bin/python3"
  mkdir -p "$1"/{dev,etc/ssl/certs,home,proc,run,sys,usr/share/doc,usr/share/python3,var/lib/intact} "$1/$packages"
  mkdir -m 1777 "$1/tmp"
  mv "$1/certificates" "$1/etc/ssl/certs/ca-certificates.crt"
  mkdir -p "$1/usr/lib/ssl"
  ln -sf /etc/ssl/certs/ca-certificates.crt "$1/usr/lib/ssl/cert.pem"
  mv "$licences" "$1/usr/share/doc/licences"
  printf 'root:x:0:0:root:/:/nonexistent\nintact:x:65532:65532:Intact:/:/nonexistent\n' >"$1/etc/passwd"
  printf 'root:x:0:\nintact:x:65532:\n' >"$1/etc/group"
  printf 'hosts: files dns\npasswd: files\ngroup: files\n' >"$1/etc/nsswitch.conf"
}

install_wheels() {
  local pip
  pip=$(${PIP:-python3 -m pip} --version | sed 's/^pip [^ ]* from \(.*\)\/pip (.*/\1/')
  # pip itself runs on the Python of the image, so markers and wheel tags are the image's.
  PYTHONPATH=$pip run_python "$1" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: \
    --no-compile --root-user-action=ignore --ignore-installed --target "$1/$packages" -r "$here/${WHEELS:-requirements.lock}"
  (
    cd "$1/$packages"
    rm -rf bin sqlalchemy/dialects/{mssql,mysql,oracle}
    find . \( -name tests -o -name test -o -name testing \) -type d -path './*/*' -prune -exec rm -rf {} +
    find . \( -name '*.pyi' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.c' -o -name '*.h' -o -name RECORD -o -name REQUESTED \
      -o -name INSTALLER -o -name direct_url.json \) -type f -delete
  )
}

build_dependencies() {
  rm -rf "$1"
  install_debian "$1"
  install_wheels "$1"
  compile "$1" "$1" "$library"
  compile "$1" "$1" "$packages"
  settle "$1"
}

build_program() { # build_program OUT DEPENDENCIES
  local version
  version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$here/../pyproject.toml" | head -n 1)
  mkdir -p "$1/$packages/intact-$version.dist-info"
  printf 'Metadata-Version: 2.4\nName: intact\nVersion: %s\nLicense-Expression: Apache-2.0\n' "$version" \
    >"$1/$packages/intact-$version.dist-info/METADATA"
  cp -R "$here/../src/intact" "$1/$packages/intact"
  find "$1/$packages/intact" -name __pycache__ -prune -exec rm -rf {} +
  find "$1/$packages/intact" -name '*.pyi' -delete
  chmod -R u=rwX,go=rX "$1/$packages/intact"
  compile "$2" "$1" "$packages/intact"
}

case ${1:-} in
  dependencies) build_dependencies "$(realpath -m "${2:?usage: rootfs.sh dependencies OUT}")" ;;
  program)
    out=$(realpath -m "${2:?usage: rootfs.sh program OUT DEPENDENCIES}")
    rm -rf "$out"
    build_program "$out" "$(realpath "${3:?usage: rootfs.sh program OUT DEPENDENCIES}")"
    settle "$out"
    ;;
  "") echo "usage: rootfs.sh OUT" >&2; exit 2 ;;
  *)
    out=$(realpath -m "$1")
    build_dependencies "$out"
    build_program "$out" "$out"
    settle "$out"
    ;;
esac
