"""Pods that are created through the API's stand-in: processes of this machine, with a pod's command and environment."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests.zygote import ROOT, Popen


class RunPod:
    """A pod with one container.

    secrets: values of keys of Secrets, as the cluster has them; a key that is not here is left out, as an optional one.
    addresses: where the services are really, by the addresses that the cluster knows. waits: the status of a pod that
    does not start, as a kubelet tells it.
    """

    def __init__(
        self,
        document: dict[str, Any],
        folder: Path,
        secrets: dict[str, str],
        addresses: dict[str, str],
        waits: dict[str, Any],
    ) -> None:
        self.addresses, self.waits = addresses, waits
        self.document, self.name = document, document["metadata"]["name"]
        self.log = folder / f"{self.name}.log"
        self.log.touch()
        (container,) = document["spec"]["containers"]
        self.process: Popen | None = None
        # As a kubelet, which starts a pod some time after it was created.
        self.starter = threading.Thread(target=self._start, args=(container, folder, secrets), daemon=True)
        if not self.waits:
            self.starter.start()

    def _start(self, container: dict[str, Any], folder: Path, secrets: dict[str, str]) -> None:
        given = {one["name"]: one["value"] for one in container["env"] if "value" in one}
        given = {name: self.addresses.get(value, value) for name, value in given.items()}
        keys = [one["valueFrom"]["secretKeyRef"]["key"] for one in container["env"] if "valueFrom" in one]
        # A kubeconfig in place of an account's token.
        base = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "KUBECONFIG": str(folder / "kubeconfig")}
        secret = {key: secrets[key] for key in keys if key in secrets}
        command = [sys.executable if word == "python" else word for word in container["command"]]
        with self.log.open("wb") as output:
            self.process = Popen(
                command,
                env=base | given | secret,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,
            )

    @property
    def status(self) -> dict[str, Any]:
        if self.process is None:
            return {"phase": "Pending", **self.waits}
        code = self.process.poll()
        return {"phase": "Running" if code is None else "Failed" if code else "Succeeded"}

    def end(self) -> None:
        if self.starter.is_alive():
            self.starter.join()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
