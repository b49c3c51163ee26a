"""The cost of a training: rates, utilisation, memory, device time and energy, as metrics of its step."""

import math
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from modelmill.training.device import hardware, nvml
from modelmill.training.device.world import World


@dataclass
class Used:
    """What a training used on all its devices.

    Steps are measured except for those before a resumption, for the first one, which warms up, and for work outside of
    steps.

    Attributes:
        device_seconds: Device time of the whole training, including earlier processes.
        step_seconds: Duration of the measured steps.
        terms: Terms of the loss in the measured steps.
        flops: FLOPs of the measured steps.
        model_flops: FLOPs of the whole training.
        peak_memory_bytes: The most memory in use on one device.
        energy_joules: Energy since the last resumption; None where a device does not report it.
        input_seconds: How long the process that has waited most for its batches waited, in the measured steps.
    """

    device_seconds: float
    step_seconds: float
    terms: int
    flops: float
    model_flops: float
    peak_memory_bytes: int
    energy_joules: float | None = None
    input_seconds: float = 0.0


def of_all(world: World, mine: Used) -> Used:
    """Return what all processes used, from what each knows of itself; every process must call this."""
    [energy] = world.agree(math.nan if mine.energy_joules is None else mine.energy_joules)
    peak = -world.least(-mine.peak_memory_bytes)
    waited = -world.least(-round(mine.input_seconds * 1e6)) / 1e6
    energy_joules = None if math.isnan(energy) else energy
    return replace(mine, peak_memory_bytes=peak, energy_joules=energy_joules, input_seconds=waited)


def metrics(used: Used, unit: str, device: torch.device, dtype: torch.dtype, number: int = 1) -> dict[str, Any]:
    """Return the metrics of a training step; unknown ones are absent.

    `mfu` is model FLOPs utilisation (Chowdhery et al., 2022, https://arxiv.org/abs/2204.02311, appendix B), relative to
    the measured speed of the devices in matrix products of the same number format.

    `input_wait_share` is the share of the steps' time in which the training waited for its next batch.

    Args:
        used: What the training used.
        unit: The noun for the loss's terms, `tokens` or `samples`.
        device: The device of this process.
        dtype: The number format of matrix products.
        number: How many devices like this one worked side by side.
    """
    measured: dict[str, Any] = {
        "device": name_of(device),
        "devices": number,
        "device_seconds": used.device_seconds,
        "peak_memory_bytes": used.peak_memory_bytes,
        "model_flops": used.model_flops,
    }
    if used.step_seconds:
        rate = used.flops / used.step_seconds
        measured[f"{unit}_per_second"] = used.terms / used.step_seconds
        measured["model_flops_per_second"] = rate
        measured["input_wait_share"] = used.input_seconds / used.step_seconds
        measured["mfu"] = rate / (number * hardware.matmul_ceiling(device, dtype))
    return measured if used.energy_joules is None else measured | {"energy_joules": used.energy_joules}


def name_of(device: torch.device) -> str:
    """Return the usual name of the device; for a CPU, with the number of threads in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' * (threads > 1)}"


class EnergyMeter:
    """The meter of a device's energy."""

    def __init__(self, device: torch.device) -> None:
        """Start to count the device's energy."""
        self.device = device
        self._before = nvml.energy_joules(device)

    def joules(self) -> float | None:
        """Return the energy used since the start, or None where the device does not report it."""
        now = nvml.energy_joules(self.device)
        return None if now is None or self._before is None else now - self._before


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.machine()
