"""What a training says it cost, and how busy the machine was meanwhile."""

import time
from typing import Any

import pytest
import torch
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

from modelmill.training.device import cost, nvml
from modelmill.training.device.system_metrics import Monitor

CPU = torch.device("cpu")


def of(**used: Any) -> dict[str, Any]:
    given = {"device_seconds": 40.0, "step_seconds": 10.0, "terms": 4000, "flops": 5e9, "model_flops": 6e9} | used
    given = {"peak_memory_bytes": 2**30} | given
    return cost.metrics(cost.Used(**given), "tokens", CPU, torch.float32, number=2)


def test_rates_are_of_measured_steps_and_device_time_is_of_every_device() -> None:
    found = of()
    assert (found["tokens_per_second"], found["model_flops_per_second"]) == (400.0, 5e8)
    assert (found["devices"], found["device_seconds"], found["model_flops"]) == (2, 40.0, 6e9)
    assert found["peak_memory_bytes"] == 2**30 and found["device"].endswith(("thread", "threads"))
    # These two devices could do at least a few times the half GFLOP a second that they did.
    assert 0 < found["mfu"] < 1


def test_what_is_not_known_is_absent_and_never_0() -> None:
    found = of(step_seconds=0.0, terms=0, flops=0.0)
    assert not found.keys() & {"tokens_per_second", "model_flops_per_second", "mfu", "energy_joules"}
    assert of(energy_joules=12.5)["energy_joules"] == 12.5


def test_a_cpu_has_no_energy_counter_of_nvidia() -> None:
    assert cost.EnergyMeter(CPU).joules() is None
    assert nvml.readings(CPU) == {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_says_how_it_is_used() -> None:
    device = torch.device("cuda", 0)
    assert nvml.readings(device)["memory_usage_megabytes"] > 0
    meter = cost.EnergyMeter(device)
    joules = meter.joules()
    assert joules is None or joules >= 0


def test_samples_have_the_names_of_mlflow_and_the_last_one_is_of_the_end() -> None:
    names = set()
    for monitor in (CPUMonitor(), DiskMonitor(), NetworkMonitor()):
        monitor.collect_metrics()
        names |= set(monitor.metrics)
    began = time.time()
    with Monitor(CPU, interval=3600) as watching:
        assert watching.samples == []
        while time.time() < began + 0.2:
            pass  # busy
    (sample,) = watching.samples
    assert sample.keys() - {"time"} == names
    assert began <= sample["time"] <= time.time()
    assert sample["system_memory_usage_megabytes"] > 1 and 0 < sample["cpu_utilization_percentage"] <= 100


def test_a_long_training_is_sampled_less_often_and_from_its_beginning_to_its_end() -> None:
    with Monitor(CPU, interval=0.001, most=8) as watching:
        deadline = time.monotonic() + 30
        while not watching.samples and time.monotonic() < deadline:
            time.sleep(0.001)
        first = watching.samples[0]
        while watching.interval < 0.004 and time.monotonic() < deadline:
            time.sleep(0.01)
    times = [sample["time"] for sample in watching.samples]
    assert watching.interval >= 0.004 and len(times) <= 8
    assert times[0] == first["time"] and times == sorted(times)
