"""Every command in the README: those of modelmill are run here, those of make by CI."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import cli
from tests.mlflow_server import MlflowServer
from tests.seaweedfs import SeaweedFS

README = (cli.ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_ci_runs_the_commands_of_make() -> None:
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("make ")]
    assert commands == ["make run", "make test"]
    assert set(commands) <= set((cli.ROOT / ".ci" / "run").read_text().splitlines())


@pytest.mark.usefixtures("forks")
def test_the_commands_of_modelmill_do_what_the_readme_says(
    tmp_path: Path, seaweedfs: SeaweedFS, mlflow_server: MlflowServer
) -> None:
    shutil.copytree(cli.ROOT / "recipes", tmp_path / "recipes")
    assert cli.modelmill("demo-data", "python-lm", cwd=tmp_path).returncode == 0  # as `make run` has done by then
    for shard in sorted((tmp_path / "data" / "python-lm").glob("stdlib-*.jsonl"))[2:]:
        shard.unlink()  # less to read, to count and to validate on
    if "models" not in seaweedfs.buckets():  # the server is that of other tests, too
        seaweedfs.create_bucket("models")
    lines = [line for block in blocks("sh") for line in block.splitlines() if not line.startswith("make ")]
    assert len(lines) >= 11
    for line in lines:
        if line.startswith("printf "):
            subprocess.run(["sh", "-c", line], cwd=tmp_path, check=True)
            continue
        on_s3 = {**seaweedfs.env, "MLFLOW_TRACKING_URI": mlflow_server.uri} if "s3://" in line else {}
        done = cli.modelmill(*shlex.split(line)[1:], cwd=tmp_path, **on_s3)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    for program in blocks("python"):
        shown = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert shown.returncode == 0, shown.stderr
        assert [line.split()[1] for line in shown.stdout.splitlines()[-3:]] == ["0", "1", "2"]


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_a_link_leads_somewhere(target: str) -> None:
    assert (cli.ROOT / target).exists()
