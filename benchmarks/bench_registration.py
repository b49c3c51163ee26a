"""Registration of a large model against the upload of its files by s5cmd, to the same server."""

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import uuid
from pathlib import Path

from benchmarks.machine import machine
from tests import mlflow_server, seaweedfs
from tests.component.registrations import Case, make_case, start_apart, write_table_model

S5CMD = Path(sysconfig.get_path("scripts")) / "s5cmd"
PIECE = 16 << 20


def main() -> None:
    """Run the benchmark as the command line says."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--mib", type=int, default=2048, help="size of the model")
    arguments.add_argument("--rounds", type=int, default=3)
    chosen = arguments.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name, seaweedfs.running() as store:
        os.environ.update(store.env)
        bucket = store.create_bucket("models")
        with mlflow_server.running(bucket=f"{bucket}/mlflow") as same, mlflow_server.running() as own:
            registries = {"in a bucket of the store's server": same.uri, "through MLflow's server": own.uri}
            measured = measure(Path(name), bucket, registries, chosen.mib, chosen.rounds)
    peer = min(measured["s5cmd"], default=float("nan"))
    print(f"\n| {chosen.mib} MiB, best of {chosen.rounds} | seconds | times s5cmd |\n|---|---|---|")
    for what, seconds in measured.items():
        print(f"| {what} | {min(seconds, default=peer):.1f} | {min(seconds, default=peer) / peer:.2f} |")
    if not S5CMD.is_file():
        print("s5cmd is not installed: make bench-gate installs it")


def measure(folder: Path, bucket: str, registries: dict[str, str], mib: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each round, from the start of a process to its end; the ways take turns.

    Args:
        folder: Folder for models and stores.
        bucket: Bucket of the store.
        registries: Addresses of MLflow servers, by the place of their files.
        mib: Size of the model.
        rounds: How many rounds.
    """
    model = write_model(folder / "model", mib)
    cases = {where: make(folder / str(n), model, f"{bucket}/store-{n}") for n, where in enumerate(registries)}
    measured: dict[str, list[float]] = {"s5cmd": []} | {f"registered, files {where}": [] for where in registries}
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    for number in range(rounds):
        if S5CMD.is_file():
            upload = ["cp", f"{model}/", f"{bucket}/uploaded-{number}/"]
            began = time.perf_counter()
            subprocess.run([S5CMD, "--log=error", f"--endpoint-url={endpoint}", *upload], check=True)
            measured["s5cmd"].append(time.perf_counter() - began)
        for where, uri in registries.items():
            os.environ["MLFLOW_TRACKING_URI"] = uri
            cases[where].change("model", steps=uuid.uuid4().int % 2**31)  # passes for another model
            began = time.perf_counter()
            process = start_apart(cases[where], number=number)
            output, _ = process.communicate()
            measured[f"registered, files {where}"].append(time.perf_counter() - began)
            if process.returncode:
                sys.exit(output)
    return measured


def make(folder: Path, model: Path, store: str) -> Case:
    """Return a registration of a model.

    Args:
        folder: Folder of the case.
        model: Folder of the model.
        store: Address of the store.
    """
    folder.mkdir()
    return make_case(folder, model, "tabular_classification", store_uri=store)


def write_model(folder: Path, mib: int) -> Path:
    """Write a model's files, with random bytes as weights, which nothing compresses.

    Args:
        folder: Folder to create.
        mib: Size of the weights.
    """
    folder.mkdir()
    write_table_model(folder, "relu", ["a", "b"])
    with open(folder / "model.safetensors", "wb") as weights:
        for _ in range(max(1, mib * 2**20 // PIECE)):
            weights.write(os.urandom(PIECE))
    return folder


if __name__ == "__main__":
    main()
