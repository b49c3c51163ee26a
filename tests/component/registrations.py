"""A registration and everything that it is given, in a store of its own; tests register it here or in a process."""

import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelmill import recipe as recipes
from modelmill.champion import champion_state
from modelmill.components.registration import claim
from modelmill.components.registration import step as registration
from modelmill.recipe import stored
from modelmill.runtime import run_records, tracking
from modelmill.store import Store, manifest, open_store
from modelmill.store.manifest import Entry, Manifest
from tests.recipes import language_recipe, table_recipe

USER, PASSWORD = "someone", "hunter2-secret"
LIBRARIES = {"torch": "2.13.0+cpu", "transformers": "5.23.0", "tokenizers": "0.23.3", "safetensors": "0.8.0"}
LIBRARIES["numpy"] = "2.4.6"
SPECIAL = ["<|endoftext|>", "<|response|>"]
LENGTH = 64
ROOT = Path(__file__).parents[2]


def write_language_model(folder: Path) -> None:
    """A tiny Llama with random weights and a tokenizer of bytes, as save_pretrained writes them."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: number for number, symbol in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        bos_token_id=0,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder, safe_serialization=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(special))


def write_table_model(folder: Path, activation: str, classes: list[str]) -> None:
    """A 2-4-n perceptron with random weights."""
    from safetensors.numpy import save_file

    outputs = 1 if len(classes) == 2 else len(classes)
    random = np.random.default_rng(4)
    sizes = [2, 4, outputs]
    tensors = {}
    for n, (a, b) in enumerate(itertools.pairwise(sizes)):
        tensors[f"layers.{n}.weight"] = random.normal(size=(b, a), scale=2).astype(np.float32)
        tensors[f"layers.{n}.bias"] = random.normal(size=b).astype(np.float32)
    save_file(tensors, folder / "model.safetensors")
    config = {
        "type": "mlp",
        "features": ["width", "height"],
        "classes": classes,
        "hidden": [4],
        "activation": activation,
        "outputs": outputs,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "scaler.json").write_text(json.dumps({"mean": [2.0, 1.5], "scale": [0.5, 3.0]}))


# A pair as the recipe's separator frames it.
FRAME = {"before": [0], "between": [1], "after": [0], "stop": 0, "trims": False}


@dataclass
class Case:
    """Everything that a registration is given, in a store of its own."""

    folder: Path
    store: Store
    name: str
    arguments: dict[str, Any]
    manifests: dict[str, Manifest]

    def run_id(self, number: int) -> str:
        return f"{self.name}-run-{number}"

    def arguments_of(self, number: int) -> dict[str, Any]:
        """The arguments of another process, which writes a manifest of its own."""
        written = f"{self.arguments['registration']}-{number}"
        return {**self.arguments, "run_id": self.run_id(number), "registration": written}

    def run(self, number: int = 1) -> Manifest:
        """Register in this process; raises SystemExit as the step does."""
        registration.run(**{**self.arguments, "run_id": self.run_id(number)})
        return Manifest.parse(Path(self.arguments["registration"]).read_bytes())

    def change(self, what: str, made_from: dict[str, str] | None = None, **info: Any) -> Manifest:
        """Give the next registrations another manifest of this kind, with these changes to its `info`."""
        old = self.manifests[what]
        new = old.model_copy(
            update={"info": old.info | info, "made_from": old.made_from if made_from is None else made_from}
        )
        manifest.save(self.store, new)
        Path(self.arguments[what]).write_bytes(new.to_json())
        self.manifests[what] = new
        return new

    def forget(self) -> None:
        """Delete the memo, as if the process had died just before it was written."""
        for key in list(self.store.list("memo/registration/")):
            self.store.delete(key)

    def problem(self, number: int = 1) -> run_records.Problem:
        record = run_records.read_step(self.store, self.run_id(number), "registration")
        assert record is not None and record.problem is not None
        return record.problem


def make_case(
    tmp_path: Path, model_folder: Path, task: str, passed: bool = True, tuned: bool = True, store_uri: str = ""
) -> Case:
    store = open_store(store_uri or f"file://{tmp_path}/store")
    name = f"m-{uuid.uuid4().hex[:12]}"
    write = language_recipe if task == "language_modeling" else table_recipe
    recipe = recipes.load(write(tmp_path, tmp_path / "data"), [f"registration.model={name}"])
    metrics = {"bits_per_byte": 2.5} if task == "language_modeling" else {"accuracy": 0.9}
    checks = [{"metric": m, "value": v, "min": None, "max": 8.0, "passed": passed} for m, v in metrics.items()]
    gate = json.dumps({"passed": passed, "checks": checks}).encode()
    files = sorted(f for f in model_folder.iterdir() if f.is_file())
    corpus = Manifest(kind="corpus", info={"sequence_length": LENGTH, "end_of_text": 0, "frame": FRAME})
    columns = {"width": "double", "height": "int64", "kind": "string"}
    manifests = {
        # Of one name and digest, MLflow's server keeps the source that it was told first.
        "dataset": Manifest(
            kind="dataset",
            location="source",
            entries=[Entry(path=f"{name}.csv", sha256="0" * 64, bytes=9, rows=200)],
            info={"format": "csv", "rows": 200, "columns": columns},
        ),
        "validation": Manifest(kind="validation", info={"success": True}),
        "model": Manifest(
            kind="model",
            entries=[
                *(manifest.add_file(store, f, f"model/{f.name}") for f in files),
                manifest.add_bytes(store, b"{}", "adapter/adapter_config.json"),
                manifest.add_bytes(store, b"{}\n", "history.jsonl"),
            ],
            made_from={"preprocessing.corpus": manifest.save(store, corpus)},
            info={
                "task": task,
                "stage": "fine_tuning",
                "trained": tuned,
                "parameters": 42,
                "steps": 7,
                "libraries": LIBRARIES,
            },
        ),
        "evaluation": Manifest(
            kind="evaluation",
            entries=[manifest.add_bytes(store, gate, "gate.json")],
            info={"passed": passed, "metrics": metrics},
        ),
    }
    for key, made in manifests.items():
        manifest.save(store, made)
        (tmp_path / f"{key}.json").write_bytes(made.to_json())
    arguments = {
        "recipe": stored.write(store, recipe),
        "store": store.uri,
        "run_id": f"{name}-run-1",
        "passed": True,
        **{key: str(tmp_path / f"{key}.json") for key in manifests},
        "registration": str(tmp_path / "out" / "registration"),
    }
    return Case(tmp_path, store, name, arguments, manifests)


def versions(case: Case) -> list[Any]:
    with tracking.client(case.store) as client:
        return list(client.search_model_versions(f"name = '{case.name}'"))


def download(case: Case, target: Path) -> Path:
    return tracking.download_version(case.store, f"models:/{case.name}@champion", target)


def assert_whole(case: Case) -> None:
    """Exactly one version, verified and the champion, which was decided once."""
    (version,) = versions(case)
    number = str(version.version)
    assert version.tags["modelmill.verified"] == "true"
    assert tracking.aliases(case.store, case.name, number) == ["champion"]
    now = champion_state.read(case.store, case.name)
    assert now.champion is not None and now.champion.version == number
    assert [entry.version for _, entry in champion_state.history(case.store, case.name)] == [number]
    assert version.tags["modelmill.log"] == now.log


# A killed process keeps its claim for this long.
LEASE_SECONDS = 1.5
# Registers, and says what came with it.
CHILD = """
import json, sys
from tests.component.registrations import register
register(json.loads(sys.argv[1]), "never:", 1.5)
from mlflow.telemetry.client import get_telemetry_client
print("torch" if "torch" in sys.modules else "no torch", "telemetry" if get_telemetry_client() else "quiet")
"""


def register(arguments: dict[str, Any], how: str, lease: float) -> None:
    """Register in this process, which is killed or stopped at a call to MLflow: before it is sent, or once answered.

    Args:
        arguments: Those of the step.
        how: `before`, `after` or `stop`, a colon, and the name of a method of MLflow's client; or `never:`.
        lease: Seconds for which a claim holds.
    """
    claim.SECONDS = lease
    where, method = how.split(":")
    if where != "never":
        import mlflow

        real = getattr(mlflow.MlflowClient, method)

        def deadly(*args: Any, **kwargs: Any) -> Any:
            if where == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            if where == "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
                return real(*args, **kwargs)
            real(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(mlflow.MlflowClient, method, deadly)
    registration.run(**arguments)


class Child:
    """A registration in a process that is forked from one which has imported mlflow; it writes its own manifest.

    Attributes:
        stdout: What it prints.
        pid: Its id.
    """

    def __init__(self, case: Case, how: str = "never:", number: int = 1, lease: float = LEASE_SECONDS) -> None:
        """Start it."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["mlflow", "modelmill.components.registration.registry", __name__])
        ours, theirs = context.Pipe(duplex=False)
        job = (case.arguments_of(number), how, lease, environment(), theirs)
        self._process = context.Process(target=_be_child, args=job, daemon=True)
        self._process.start()
        theirs.close()
        self.stdout = os.fdopen(os.dup(ours.fileno()))
        ours.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, a signal's number below zero; None while it runs."""
        return self._process.exitcode

    def wait(self, seconds: float = 120) -> int | None:
        """Wait until it ends."""
        self._process.join(seconds)
        return self.returncode

    def communicate(self) -> tuple[str, None]:
        """Return the rest of what it prints, when it has ended."""
        with self.stdout:
            printed = self.stdout.read()
        self.wait()
        return printed, None

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, if it still runs."""
        self._process.kill()


def _be_child(arguments: dict[str, Any], how: str, lease: float, variables: dict[str, str], output: Any) -> None:
    os.environ.clear()
    os.environ.update(variables)
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    output.close()
    register(arguments, how, lease)


def environment() -> dict[str, str]:
    """This process's, but little of it: in what looks like CI or a test, mlflow leaves its telemetry off by itself."""
    prefixes = ("AWS_", "MLFLOW_", "MODELMILL_")
    return {n: v for n, v in os.environ.items() if n in {"PATH", "HOME", "NO_PROXY"} or n.startswith(prefixes)}


def start_apart(case: Case, number: int = 1) -> subprocess.Popen[str]:
    """Register in an interpreter of its own, which imports what the step imports."""
    return subprocess.Popen(
        [sys.executable, "-u", "-c", CHILD, json.dumps(case.arguments_of(number))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**environment(), "PYTHONPATH": str(ROOT)},
    )


def written_by_child(case: Case, number: int) -> Manifest:
    return Manifest.parse(Path(f"{case.arguments['registration']}-{number}").read_bytes())
