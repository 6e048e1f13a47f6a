#!/usr/bin/env bash
# Proves in a fresh virtual environment that `pip install .[client]` brings neither the service nor torch, that its types
# are seen from outside, and that it works against a service that runs from the development environment ($VENV).
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
root=$PWD
dev=$(realpath -- "${VENV:-.venv}/bin")
scratch=$(mktemp --directory)
service=
stop() {
    if [[ -n $service ]]; then
        kill "$service" 2>/dev/null || true
        wait "$service" 2>/dev/null || true
    fi
    rm -rf -- "$scratch"
}
trap stop EXIT

"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --constraint constraints.txt '.[client]'
install -- infra/ci/client_check.py "$scratch"

cd -- "$scratch"
env --unset=PYTHONPATH --unset=MYPYPATH "$dev/mypy" --strict --python-executable venv/bin/python --cache-dir "$scratch/mypy" client_check.py

# Whatever the shell sets, such as a token, is for another service than this one.
for name in "${!CROSSFADE_@}"; do unset "$name"; done
"$dev/crossfade" serve --json --port 0 --state-dir "$scratch/state" \
    --root "demo=$root/infra/demo/pair" --destination "outputs=$scratch/outputs" >ready.json &
service=$!
for _ in {1..2000}; do
    [[ ! -s ready.json ]] || break
    kill -0 "$service"
    sleep 0.2
done
venv/bin/python -I client_check.py ready.json
