"""FLOPs a second of large bf16 matrix products on this machine's device, the reference of model FLOPs utilisation.

Run as `python -m benchmarks.training.ceiling`; prints them.
"""

import torch

from modelmill.training.device import determinism, hardware

if __name__ == "__main__":
    determinism.seed_everything(0)  # as the engine does, with the same switches
    print(hardware.matmul_ceiling(hardware.pick_device(), torch.bfloat16))
