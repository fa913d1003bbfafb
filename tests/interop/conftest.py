"""Small foreign checkpoints: seeded weights with AV-HuBERT's names, in fairseq's format."""

import argparse
import json
import sys
import types
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from avsr.decoder import DecoderConfig, Tokenizer
from avsr.encoder import AVHubertConfig
from avsr.model.config import ModelConfig
from avsr.model.network import AVSRModel

TEXTS = ["ein kleiner satz", "a small sentence", "noch ein langer satz", "more of them"] * 10
ENCODER = {
    "_name": "av_hubert",
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "layer_norm_first": True,
}
DECODER = {
    "_name": "av_hubert_seq2seq",
    "decoder_layers": 1,
    "decoder_attention_heads": 8,
    "decoder_normalize_before": True,
    "share_decoder_input_output_embed": True,
}
# Of the Hugging Face port: what it reads, and below that what is there and means nothing.
PORT = {
    "activation_function": "relu",
    "audio_feat_dim": 104,
    "d_model": 64,
    "decoder_attention_heads": 8,
    "decoder_ffn_dim": 80,
    "decoder_hidden_size": 64,
    "decoder_layers": 1,
    "decoder_start_token_id": 2,
    "encoder_attention_heads": 2,
    "encoder_embed_dim": 32,
    "encoder_hidden_size": 32,
    "eos_token_id": 2,
    "hidden_act": "gelu",
    "intermediate_size": 48,
    "layer_norm_eps": 1e-5,
    "modality_fuse": "concat",
    "num_conv_pos_embedding_groups": 16,
    "num_conv_pos_embeddings": 8,
    "num_hidden_layers": 2,
    "pad_token_id": 1,
    "resnet_relu_type": "prelu",
    "scale_embedding": None,
    "vocab_size": 24,
    "bos_token_id": 1,
    "do_stable_layer_norm": False,
    "encoder_ffn_dim": 2048,
    "encoder_layers": 12,
}
PIECES = {"q": "query", "k": "key", "v": "value", "out": "out"}


def their_name(ours):
    """Return AV-HuBERT's name of a weight, written independently of the package's table."""
    name = ours.replace("encoder.audio_proj", "encoder.w2v_model.feature_extractor_audio.proj")
    name = name.replace("encoder.video_proj", "encoder.w2v_model.feature_extractor_video.proj")
    video = "encoder.w2v_model.feature_extractor_video.resnet."
    for i, part in enumerate(["stem", "stem_norm", "stem_act"]):
        name = name.replace(f"encoder.frontend.{part}.", f"{video}frontend3D.{i}.")
    for n in range(8):
        block = f"encoder.frontend.blocks.{n}."
        if name.startswith(block):
            name = name.replace(block, f"{video}trunk.layer{n // 2 + 1}.{n % 2}.")
            name = (
                name.replace(".norm", ".bn")
                .replace(".act", ".relu")
                .replace("shortcut", "downsample")
            )
    name = name.replace("encoder.fusion_norm", "encoder.w2v_model.layer_norm")
    name = name.replace("encoder.fusion_proj", "encoder.w2v_model.post_extract_proj")
    position = "encoder.transformer.position.conv."
    name = name.replace(position + "parametrizations.weight.original0", position + "weight_g")
    name = name.replace(position + "parametrizations.weight.original1", position + "weight_v")
    name = name.replace(position, "encoder.w2v_model.encoder.pos_conv.0.")
    name = name.replace("encoder.transformer.norm", "encoder.w2v_model.encoder.layer_norm")
    name = name.replace("encoder.transformer.layers", "encoder.w2v_model.encoder.layers")
    for short, long in PIECES.items():
        name = name.replace(f"self_attention.{long}.", f"self_attn.{short}_proj.")
        name = name.replace(f"cross_attention.{long}.", f"encoder_attn.{short}_proj.")
        name = name.replace(f".attention.{long}.", f".self_attn.{short}_proj.")
    name = name.replace("cross_norm", "encoder_attn_layer_norm").replace("ffn_in", "fc1")
    name = name.replace("self_norm", "self_attn_layer_norm").replace("ffn_out", "fc2")
    name = name.replace("attention_norm", "self_attn_layer_norm")
    name = name.replace("ffn_norm", "final_layer_norm")
    name = name.replace("decoder.norm", "decoder.layer_norm")
    return name.replace("decoder.embedding", "decoder.embed_tokens")


def port_name(theirs):
    """Return the Hugging Face port's name of a weight of AV-HuBERT, written independently, too."""
    name = "model." + theirs.replace("w2v_model.", "")
    if not name.startswith("model.encoder.encoder."):
        return name
    for short, long in [
        ("pos_conv.0.weight_g", "pos_conv_embed.conv.parametrizations.weight.original0"),
        ("pos_conv.0.weight_v", "pos_conv_embed.conv.parametrizations.weight.original1"),
        ("pos_conv.0.", "pos_conv_embed.conv."),
        (".self_attn_layer_norm.", ".layer_norm."),
        (".self_attn.", ".attention."),
        (".fc1.", ".feed_forward.intermediate_dense."),
        (".fc2.", ".feed_forward.output_dense."),
    ]:
        name = name.replace(short, long)
    return name


class Dictionary:
    """Pickled under fairseq's name."""

    def __init__(self, symbols):
        self.symbols = symbols
        self.indices = {symbol: i for i, symbol in enumerate(symbols)}


class SentencepieceBPE:
    """Pickled under fairseq's name."""

    def __init__(self, tokenizer):
        self.sp = tokenizer._pieces


class DictConfig:
    """Pickled under OmegaConf's name, with its insides."""

    def __init__(self, content):
        nodes = {}
        for key, value in content.items():
            nodes[key] = DictConfig(value) if isinstance(value, dict) else AnyNode(value)
        self.__dict__["_content"] = nodes


class AnyNode:
    """Pickled under OmegaConf's name."""

    def __init__(self, value):
        self.__dict__["_val"] = value


MODULES = {
    "fairseq.data.dictionary": Dictionary,
    "fairseq.data.encoders.sentencepiece_bpe": SentencepieceBPE,
    "omegaconf.dictconfig": DictConfig,
    "omegaconf.nodes": AnyNode,
}


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """Writers of every kind of foreign model around the same weights, and these weights."""
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(TEXTS, 24)
    config = ModelConfig(
        encoder=AVHubertConfig(
            layers=2, dim=32, ffn_dim=48, heads=2, frontend_width=4, position_kernel=8, prompts=0
        ),
        decoder=DecoderConfig(layers=1, dim=64, ffn_dim=80, heads=8),  # not as wide as the encoder
        vocabulary_size=24,
        languages=("de",),
        parts=("encoder", "decoder"),
    )
    model = AVSRModel(config, tokenizer).eval()
    for name, weight in model.state_dict().items():
        if name.endswith("running_var"):
            weight.uniform_(0.5, 2.0)
        elif weight.is_floating_point() and weight.numel():
            weight.normal_(0.0, 0.3)
    stored = {name: weight for name, weight in model.state_dict().items() if weight.numel()}
    weights = {their_name(name): weight for name, weight in stored.items()}
    weights["encoder.w2v_model.mask_emb"] = torch.randn(104)
    weights["encoder.w2v_model.label_embs_concat"] = torch.randn(9, 16)
    weights["decoder.embed_positions._float_tensor"] = torch.empty(1)
    symbols = tokenizer.pieces(range(24))

    def with_classes(content, path, **options):
        with monkeypatch.context() as patch:
            for module, kind in MODULES.items():
                parts = module.split(".")
                for i in range(1, len(parts) + 1):
                    name = ".".join(parts[:i])
                    if name not in sys.modules:
                        patch.setitem(sys.modules, name, types.ModuleType(name))
                setattr(sys.modules[module], kind.__name__, kind)
                patch.setattr(kind, "__module__", module)
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(content, path, **options)
        return path

    def fairseq(name="de_avsr/checkpoint_best.pt", *, settings="cfg", inside=True, **options):
        """Write a fine-tuned checkpoint, with its vocabulary inside it or in a file beside it."""
        path = tmp_path / name
        content = {"args": None, "cfg": None, "model": options.pop("weights", weights)}
        task = {"normalize": True}
        if settings == "cfg":
            content["cfg"] = {"model": DECODER | {"w2v_args": {"model": ENCODER, "task": task}}}
        elif settings == "omegaconf":
            content["cfg"] = DictConfig({"model": DECODER | {"w2v_args": {"model": ENCODER}}})
        elif settings == "args":
            inner = argparse.Namespace(**ENCODER)
            content["args"] = argparse.Namespace(**DECODER, w2v_args=inner, user_dir="x")
        if inside:
            target = Dictionary(symbols)
            content["task_state"] = {
                "dictionaries": [target],
                "target_dictionary": target,
                "s2s_tokenizer": SentencepieceBPE(tokenizer),
            }
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = "".join(f"{symbol} {5 - i}\n" for i, symbol in enumerate(symbols[4:]))
            (path.parent / "dict.de.txt").write_text(rows)
            (path.parent / "tokenizer.model").write_bytes(tokenizer.model)
        return with_classes(content, path, **options)

    def pretrained():
        """The same encoder before fine-tuning."""
        prefix = "encoder.w2v_model."
        inside = {k.removeprefix(prefix): w for k, w in weights.items() if k.startswith(prefix)}
        inside |= {"final_proj.weight": torch.randn(16, 32), "final_proj.bias": torch.randn(16)}
        units = Dictionary(["<s>", "<pad>", "</s>", "<unk>", "0", "1"])
        content = {"cfg": {"model": ENCODER}, "model": inside}
        return with_classes(
            content | {"task_state": {"dictionaries": [units]}}, tmp_path / "base_vox.pt"
        )

    def hugging_face(saved=2, **changes):
        """A directory of the port, saved once or twice; ``changes`` go into its settings."""
        folder = tmp_path / "AV-HuBERT-MuAViC-de"
        folder.mkdir()
        port = {port_name(name): w for name, w in weights.items() if "_float_tensor" not in name}
        port["model.decoder.embed_positions.weights"] = torch.randn(2050, 64)
        if saved == 2:
            port["model.lm_head.weight"] = torch.randn(24, 64)
        save_file({name: w.contiguous() for name, w in port.items()}, folder / "model.safetensors")
        settings = {name: v for name, v in (PORT | changes).items() if v != "left out"}
        (folder / "config.json").write_text(json.dumps(settings))
        vocabulary = {symbol: i for i, symbol in enumerate(symbols)}
        (folder / "vocab.json").write_text(json.dumps(vocabulary))
        (folder / "sentencepiece.bpe.model").write_bytes(tokenizer.model)
        return folder

    return SimpleNamespace(
        fairseq=fairseq,
        hugging_face=hugging_face,
        model=model,
        pretrained=pretrained,
        symbols=symbols,
        weights=weights,
    )
