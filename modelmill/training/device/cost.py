"""What a training cost: rates, utilisation, memory, device time and energy, as metrics of its step."""

import math
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from modelmill.training.device import hardware, nvml
from modelmill.training.launch.world import World


@dataclass
class Used:
    """What a training used on all its devices.

    device_seconds, model_flops: of the whole training, whatever number of processes took part in it one after the
    other. step_seconds, terms, flops: of the steps that are measured, which leaves out those of before it was resumed,
    the first one, as it warms up, and what is not a step. peak_memory_bytes: of the device that used most.
    energy_joules: since it was resumed; None where a device does not say.
    """

    device_seconds: float
    step_seconds: float
    terms: int
    flops: float
    model_flops: float
    peak_memory_bytes: int
    energy_joules: float | None = None


def of_all(world: World, mine: Used) -> Used:
    """What all processes used, of what each of them knows of itself; every process must ask."""
    [energy] = world.agree(math.nan if mine.energy_joules is None else mine.energy_joules)
    peak = -world.least(-mine.peak_memory_bytes)
    return replace(mine, peak_memory_bytes=peak, energy_joules=None if math.isnan(energy) else energy)


def metrics(used: Used, unit: str, device: torch.device, dtype: torch.dtype, number: int = 1) -> dict[str, Any]:
    """The metrics of a training step; what is not known is absent.

    `mfu` is model FLOPs utilisation (Chowdhery et al., 2022, https://arxiv.org/abs/2204.02311, appendix B), against
    what the devices were measured to do in matrix products of the same number format.

    Args:
        unit: what terms are, `tokens` or `samples`. dtype: that matrices were multiplied in. number: of devices like
            this one that worked side by side.
    """
    found: dict[str, Any] = {
        "device": name_of(device),
        "devices": number,
        "device_seconds": used.device_seconds,
        "peak_memory_bytes": used.peak_memory_bytes,
        "model_flops": used.model_flops,
    }
    if used.step_seconds:
        rate = used.flops / used.step_seconds
        found[f"{unit}_per_second"] = used.terms / used.step_seconds
        found["model_flops_per_second"] = rate
        found["mfu"] = rate / (number * hardware.matmul_ceiling(device, dtype))
    return found if used.energy_joules is None else found | {"energy_joules": used.energy_joules}


def name_of(device: torch.device) -> str:
    """The device as people know it; of a CPU with the number of threads that work."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' * (threads > 1)}"


class EnergyMeter:
    """Counts the energy that a device uses from the moment this is made."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._before = nvml.energy_joules(device)

    def joules(self) -> float | None:
        """None where the device does not say."""
        now = nvml.energy_joules(self.device)
        return None if now is None or self._before is None else now - self._before


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.machine()
