"""FLOPs a second of large bf16 matrix products on this machine's device: what model FLOPs utilisation is measured by.

Run as `python -m benchmarks.training.ceiling`: prints them.
"""

import torch

from components.training import device as devices

if __name__ == "__main__":
    devices.seed_everything(0)  # as the engine does, with the same switches
    print(devices.matmul_ceiling(devices.pick_device(), torch.bfloat16))
