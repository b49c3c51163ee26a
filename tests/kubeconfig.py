"""A kubeconfig for a Kubernetes API on a port of this machine."""

from pathlib import Path

import yaml


def write(file: Path, port: int, namespace: str) -> Path:
    """Write the file by which a server on the port is reached."""
    cluster = {"name": "stub", "cluster": {"server": f"http://127.0.0.1:{port}"}}
    context = {"name": "stub", "context": {"cluster": "stub", "user": "stub", "namespace": namespace}}
    user = {"name": "stub", "user": {"token": "a-token"}}
    document = {"apiVersion": "v1", "kind": "Config", "current-context": "stub"}
    file.write_text(yaml.safe_dump(document | {"clusters": [cluster], "contexts": [context], "users": [user]}))
    return file
