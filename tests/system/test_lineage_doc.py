"""docs/lineage.md is run: every command, in order, on an output that a real service has published."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.system.serving import CLI, PAIR, serving

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "docs/lineage.md").read_text(), re.DOTALL)


def test_the_commands_of_the_page_hold_on_a_published_output(tmp_path):
    (tmp_path / "infra").symlink_to(ROOT / "infra")
    with serving(tmp_path, {"demo": PAIR}, destinations={"published": tmp_path / "published"}) as service:
        sources = {"base": "local://demo/base", "instruct": "local://demo/instruct"}
        job = service.wait(service.submit(**sources, lambdas=[0.5, 1.0], destination="published")["id"])
        assert job["state"] == "SUCCEEDED", job
        uri = next(output["uri"] for output in job["outputs"] if output["lambda"] == 0.5)
        subprocess.run([CLI, "fetch", uri, "model"], check=True, cwd=tmp_path)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "CROSSFADE_URL": service.url}
        said = [
            subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block],
                check=False,
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
            )
            for block in BLOCKS
        ]
    assert [(done.returncode, done.stderr) for done in said if done.returncode] == []
    verified, rebuilt, graph = (done.stdout for done in said)
    assert "model.sig" in verified
    assert "reproduced, bit for bit" in rebuilt
    assert "instruct-pad-0.5" in graph
