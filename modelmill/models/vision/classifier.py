"""A classifier with one of these networks as transformers has classifiers, known to its Auto classes once imported."""

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention

from modelmill.models.vision.inception import Inception
from modelmill.models.vision.plain import VGG, EfficientNet

MODEL_TYPE = "modelmill_vision"


class VisionConfig(PreTrainedConfig):
    """The configuration: the name of the network, as torchvision has it, channels of images, and what norms add.

    `batch_norm_eps` is what batch normalisation adds to a variance; by default what torchvision's network has.
    """

    model_type = MODEL_TYPE

    network: str = "vgg16"
    num_channels: int = 3
    batch_norm_eps: float | None = None


class VisionForImageClassification(PreTrainedModel):
    """A network, and a linear layer on its features."""

    config_class = VisionConfig
    base_model_prefix = "network"
    main_input_name = "pixel_values"

    def __init__(self, config: VisionConfig) -> None:
        """Build the network with random weights."""
        super().__init__(config)
        self.network = network(config.network, config.num_channels)
        for module in self.modules():
            if config.batch_norm_eps is not None and isinstance(module, nn.BatchNorm2d):
                module.eps = config.batch_norm_eps
        self.classifier = nn.Linear(self.network.features_out, config.num_labels)
        self.post_init()

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> ImageClassifierOutputWithNoAttention:
        """Return the logits of images, (batch, labels)."""
        return ImageClassifierOutputWithNoAttention(logits=self.classifier(self.network(pixel_values)))

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, 0.0, 0.01)
        elif isinstance(module, nn.BatchNorm2d):
            init.ones_(module.weight)
            init.zeros_(module.running_mean)
            init.ones_(module.running_var)
            init.zeros_(module.num_batches_tracked)
        bias = getattr(module, "bias", None)
        if bias is not None:
            init.zeros_(bias)


def network(name: str, channels: int) -> Any:
    """Return a network with random weights.

    Args:
        name: Its name, as torchvision has it.
        channels: Channels of the image.
    """
    if name.startswith("vgg"):
        return VGG(name, channels)
    return Inception(channels) if name == "inception_v3" else EfficientNet(name, channels)


AutoConfig.register(MODEL_TYPE, VisionConfig, exist_ok=True)
AutoModelForImageClassification.register(VisionConfig, VisionForImageClassification, exist_ok=True)
