#!/usr/bin/env bash
# Proves in a fresh virtual environment that `pip install .[api]` brings no torch and that the API imports without it.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
scratch=$(mktemp --directory)
trap 'rm -rf -- "$scratch"' EXIT

"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --constraint constraints.txt '.[api]'
cd -- "$scratch"
venv/bin/python - <<'PYTHON'
from importlib.util import find_spec

import crossfade_api.app
import kombu.transport.redis  # loaded with the first message only, so a missing dependency of it would show late

heavy = [name for name in ("torch", "numpy", "safetensors") if find_spec(name)]
if heavy:
    raise SystemExit(f"pip install .[api] must not bring {heavy}; see the extra `api` in pyproject.toml")
print(f"{crossfade_api.app.__name__} imports without torch, numpy and safetensors")
PYTHON
