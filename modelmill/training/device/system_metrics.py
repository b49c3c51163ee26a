"""The use of the machine while a model is trained: the readings that MLflow calls system metrics.

They have MLflow's names and units (`mlflow.system_metrics`), but are taken without MLflow: its monitor asks the
tracking server after every reading, and importing it would delay the first step. They are logged with the step's
other metrics.
"""

import threading
import time
from typing import Any

import psutil
import torch

from modelmill.training.device import nvml

INTERVAL_SECONDS = 10.0  # MLflow's
MOST_SAMPLES = 1000


class Monitor:
    """The sampler that runs in the background while its block runs, and once more at the end.

    Of a long training, every second row is dropped whenever there are too many, and the interval is doubled.

    Attributes:
        samples: Rows with `time`, in seconds since 1970, and readings by their names.
        interval: Seconds between two readings.
    """

    def __init__(self, device: torch.device, interval: float = INTERVAL_SECONDS, most: int = MOST_SAMPLES) -> None:
        """Prepare to sample.

        Args:
            device: The device of this process.
            interval: Seconds between two readings.
            most: The most rows to keep.
        """
        self.samples: list[dict[str, float]] = []
        self._device = device
        self.interval = interval
        self._most = most
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system-metrics", daemon=True)

    def __enter__(self) -> "Monitor":
        """Start to sample."""
        self._network: Any = psutil.net_io_counters()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Take the last reading and stop."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        psutil.cpu_percent()  # measures the time since the thread's last call
        while not self._stop.wait(self.interval):
            self._sample()
            if len(self.samples) >= self._most:
                self.samples = self.samples[::2]
                self.interval *= 2
        self._sample()

    def _sample(self) -> None:
        self.samples.append({"time": time.time(), **_host(), **self._traffic(), **_gpu(self._device)})

    def _traffic(self) -> dict[str, float]:
        """Return the traffic since the block began; nothing where there is no network."""
        if (now := psutil.net_io_counters()) is None:
            return {}
        return {
            "network_receive_megabytes": (now.bytes_recv - self._network.bytes_recv) / 1e6,
            "network_transmit_megabytes": (now.bytes_sent - self._network.bytes_sent) / 1e6,
        }


def _host() -> dict[str, float]:
    memory: Any = psutil.virtual_memory()
    disk = psutil.disk_usage("/")
    return {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": memory.used / 1e6,
        "system_memory_usage_percentage": memory.used / memory.total * 100,
        "disk_usage_percentage": disk.percent,
        "disk_usage_megabytes": disk.used / 1e6,
        "disk_available_megabytes": disk.free / 1e6,
    }


def _gpu(device: torch.device) -> dict[str, float]:
    return {f"gpu_{device.index or 0}_{name}": value for name, value in nvml.readings(device).items()}
