"""What NVIDIA's management library says of a GPU; nothing on other devices, or where the driver does not say it."""

import functools
from typing import Any

import torch


def energy_joules(device: torch.device) -> float | None:
    """Counted by the GPU since its driver was loaded (Volta and later)."""
    found = _ask(device, "nvmlDeviceGetTotalEnergyConsumption")
    return None if found is None else found / 1000


def readings(device: torch.device) -> dict[str, float]:
    """How the GPU is used now, by the names of MLflow's `GPUMonitor` without their prefix."""
    found = {}
    if memory := _ask(device, "nvmlDeviceGetMemoryInfo"):
        found["memory_usage_percentage"] = memory.used / memory.total * 100
        found["memory_usage_megabytes"] = memory.used / 1e6
    if rates := _ask(device, "nvmlDeviceGetUtilizationRates"):
        found["utilization_percentage"] = float(rates.gpu)
    if milliwatts := _ask(device, "nvmlDeviceGetPowerUsage"):
        found["power_usage_watts"] = milliwatts / 1000
        if limit := _ask(device, "nvmlDeviceGetEnforcedPowerLimit"):
            found["power_usage_percentage"] = milliwatts / limit * 100
    return found


def _ask(device: torch.device, question: str) -> Any:
    """The answer to one of NVML's questions about a device, None if there is none."""
    handle = _handle(device) if device.type == "cuda" else None
    if handle is None:
        return None
    import pynvml

    try:
        return getattr(pynvml, question)(handle)
    except pynvml.NVMLError:
        return None


@functools.cache
def _handle(device: torch.device) -> Any:
    """Found by its UUID: NVML does not know of CUDA_VISIBLE_DEVICES and numbers GPUs its own way."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    except pynvml.NVMLError:
        return None
