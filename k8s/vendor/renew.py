"""Render the manifests of other projects anew: `renew.py [SOURCES]`.

Installing then clones nothing and needs no network but the registries of images. SOURCES is a folder with a checkout
of each project at its version, by its name here; without it they are cloned.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
# Larger files are awkward in git and in reviews.
MOST_BYTES = 1_000_000


class Project(NamedTuple):
    """A project whose manifests are rendered here, or are part of those that are.

    Attributes:
        repository: Repository on GitHub.
        tag: Its version.
    """

    repository: str
    tag: str


PROJECTS = {
    "pipelines": Project("kubeflow/pipelines", "2.17.0"),
    "argo-workflows": Project("argoproj/argo-workflows", "v4.0.5"),
    "trainer": Project("kubeflow/trainer", "v2.3.0"),
    "jobset": Project("kubernetes-sigs/jobset", "v0.12.0"),
}
# Folder here, the projects that are in it, and the kustomizations of the first that it holds the rendering of.
RENDERED = {
    "kfp": (["pipelines", "argo-workflows"], ["manifests/kustomize/env/platform-agnostic"]),
    "kfp-cluster": (
        ["pipelines", "argo-workflows"],
        [
            "manifests/kustomize/base/pipeline/cluster-scoped",
            "manifests/kustomize/third-party/argo/installs/namespace/cluster-scoped",
        ],
    ),
    "trainer": (["trainer", "jobset"], ["manifests/overlays/manager"]),
}
# What a kustomization of one project takes from another over the network, and where that is in its checkout.
REMOTE = re.compile(
    r"https://github\.com/argoproj/(?P<argo>argo-workflows/[^?\s]+)\?\S+"
    r"|https://github\.com/kubernetes-sigs/jobset/releases/download/\S+"
)


def main(sources: Path | None) -> None:
    """Render every folder.

    Args:
        sources: Folder with the checkouts; None clones them.
    """
    with tempfile.TemporaryDirectory() as made:
        checkouts = Path(made)
        for name, project in PROJECTS.items():
            if sources is not None:
                shutil.copytree(sources / name, checkouts / name)
            else:
                url = f"https://github.com/{project.repository}.git"
                _run("git", "clone", "--quiet", "--depth", "1", "--branch", project.tag, url, checkouts / name)
        for file in checkouts.rglob("kustomization.yaml"):
            _make_local(file, checkouts)
        for folder, (names, paths) in RENDERED.items():
            text = "---\n".join(_run("kubectl", "kustomize", checkouts / names[0] / path) for path in paths)
            write(HERE / folder, text, [PROJECTS[name] for name in names])
            for name in names:
                shutil.copy(checkouts / name / "LICENSE", HERE / folder / f"LICENSE.{name}")


def write(folder: Path, text: str, projects: list[Project]) -> None:
    """Write documents to files of a folder, each definition of a kind to one of its own, with a kustomization.

    Args:
        folder: Folder to write to; what it held is removed.
        text: YAML documents.
        projects: Projects that they are from.

    Raises:
        SystemExit: A file would be too large.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files: dict[str, list[str]] = {}
    for document in text.split("\n---\n"):
        name = re.search(r"^metadata:\n(?:  .*\n)*?  name: (\S+)", document, re.MULTILINE)
        defines = re.search(r"^kind: CustomResourceDefinition$", document, re.MULTILINE)
        files.setdefault(f"{name[1]}.yaml" if defines and name else "manifests.yaml", []).append(document.strip())
    versions = ", ".join(f"{project.repository} {project.tag}" for project in projects)
    said = f"# {versions}: Apache-2.0. Rendered by k8s/vendor/renew.py; changes belong into k8s/kfp or k8s/install.\n"
    for name, held in files.items():
        written = said + "\n---\n".join(held) + "\n"
        if len(written.encode()) > MOST_BYTES:
            sys.exit(f"{folder / name}: {len(written.encode())} bytes, more than {MOST_BYTES}; split it")
        (folder / name).write_text(written)
    listed = "".join(f"- {name}\n" for name in sorted(files))
    head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n"
    (folder / "kustomization.yaml").write_text(said + head + listed)


def _make_local(file: Path, checkouts: Path) -> None:
    """Let a kustomization take from the other checkouts what it would fetch."""

    def local(found: re.Match[str]) -> str:
        target = checkouts / (found["argo"] or "jobset/config/default")
        return os.path.relpath(target, file.parent)

    file.write_text(REMOTE.sub(local, file.read_text()))


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
