"""Readings of a GPU from NVIDIA's management library; none on other devices or where the driver has none."""

import functools
from typing import Any

import torch


def energy_joules(device: torch.device) -> float | None:
    """Return the energy that the GPU has used since its driver was loaded (Volta and later)."""
    millijoules = _ask(device, "nvmlDeviceGetTotalEnergyConsumption")
    return None if millijoules is None else millijoules / 1000


def readings(device: torch.device) -> dict[str, float]:
    """Return how the GPU is used now, by the names of MLflow's `GPUMonitor` without their prefix."""
    usage = {}
    if memory := _ask(device, "nvmlDeviceGetMemoryInfo"):
        usage["memory_usage_percentage"] = memory.used / memory.total * 100
        usage["memory_usage_megabytes"] = memory.used / 1e6
    if rates := _ask(device, "nvmlDeviceGetUtilizationRates"):
        usage["utilization_percentage"] = float(rates.gpu)
    if milliwatts := _ask(device, "nvmlDeviceGetPowerUsage"):
        usage["power_usage_watts"] = milliwatts / 1000
        if limit := _ask(device, "nvmlDeviceGetEnforcedPowerLimit"):
            usage["power_usage_percentage"] = milliwatts / limit * 100
    return usage


def _ask(device: torch.device, question: str) -> Any:
    """Return the answer to one of NVML's questions about a device, or None."""
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
    """Return NVML's handle of the GPU by its UUID: NVML ignores CUDA_VISIBLE_DEVICES and numbers GPUs its own way."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    except pynvml.NVMLError:
        return None
