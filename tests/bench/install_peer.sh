#!/usr/bin/env bash
# Installs what `make bench` compares with into .bench/venv: mergekit, with the torch of constraints.txt (its own pins for
# the rest), and jemalloc, which it runs fastest with, on Debian and Ubuntu as root. PYTHON: the interpreter to use.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
venv=.bench/venv

if [[ ! -e $venv/.installed ]]; then
    rm -rf "$venv"
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/pip" install --quiet mergekit==0.1.5 "$(grep '^torch==' constraints.txt)"
    touch "$venv/.installed"
fi

if ! compgen -G '/usr/lib/*/libjemalloc.so.2' >/dev/null; then
    if [[ -e /etc/debian_version && $(id -u) -eq 0 ]]; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get update
        apt-get install --yes --no-install-recommends libjemalloc2
    else
        echo "no libjemalloc.so.2: the peer is measured without it (Debian and Ubuntu: apt-get install libjemalloc2)" >&2
    fi
fi
