"""Parity of encoder, decoder and search with the numbers of the reference implementation."""

import contextlib
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity, linear

from avsr.cli import app as cli
from avsr.decoder import EOS, PAD, UNK
from avsr.encoder import normalize_mouth
from avsr.hub import load_network
from avsr.interop import import_model
from avsr.interop.key_table import PREFIX
from avsr.interop.safe_unpickler import read_checkpoint
from avsr.model.directory import load_directory
from avsr.search import SearchOptions, beam_search

REFERENCE = os.environ.get("AVSR_REFERENCE")
pytestmark = pytest.mark.skipif(not REFERENCE, reason="AVSR_REFERENCE is not set")


@pytest.fixture(scope="module", params=["small_finetuned", "small_finetuned_asis"])
def model(request, tmp_path_factory):
    """A checkpoint of the reference after ``avsr import`` and ``load_model``."""
    folder = tmp_path_factory.mktemp("reference")
    with tarfile.open(Path(REFERENCE) / "small_checkpoints.tar.xz") as archive:
        archive.extract(f"{request.param}.pt", folder, filter="data")
    heads = ["--encoder-heads", "4"] if request.param.endswith("asis") else []  # it does not say
    paths = [str(folder / f"{request.param}.pt"), str(folder / "model")]
    assert cli.main(["import", *paths, *heads]) == 0
    return load_network(folder / "model", "cpu")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """The encoder of the pre-training checkpoint, imported, and the weights that were left out."""
    folder = tmp_path_factory.mktemp("pretrained")
    with tarfile.open(Path(REFERENCE) / "small_checkpoints.tar.xz") as archive:
        archive.extract("small_pretrained.pt", folder, filter="data")
    imported = import_model(folder / "small_pretrained.pt", folder / "model")
    theirs = {
        f"{PREFIX}{k}": w
        for k, w in read_checkpoint(folder / "small_pretrained.pt")["model"].items()
    }
    return load_directory(folder / "model").encoder, {
        name: theirs[name] for name in imported.dropped
    }


def unit_logits(features, dropped):
    """Projected features, and their scores against pre-training's units (HuBERT, section 3.2:
    cosine similarity at temperature 0.1).
    """
    weights = {name.removeprefix(PREFIX): weight for name, weight in dropped.items()}
    projected = linear(features, weights["final_proj.weight"], weights["final_proj.bias"])
    units = weights["label_embs_concat"]
    return projected, cosine_similarity(projected[..., None, :], units, dim=-1) / 0.1


def test_the_tokenizer_agrees_with_the_reference(model):
    expected = json.loads((Path(REFERENCE) / "tokenizer.json").read_text())
    assert model.tokenizer.pieces(range(40)) == expected["symbols"]
    for case in expected["cases"]:
        if "text" in case:  # the original lower-cases before it cuts
            assert [*model.tokenizer.encode(case["text"].lower()), EOS] == case["ids_with_eos"]


def arrays(name):
    with np.load(Path(REFERENCE) / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def batch_inputs(modality):
    inputs = arrays("model_inputs")
    fbank = inputs["audio"].transpose(1, 2) if modality != "video_only" else None
    mouth = inputs["video"][:, 0] if modality != "audio_only" else None
    return inputs, fbank, mouth


def close(actual, expected, mask=None):
    if mask is not None:
        in_rows = actual.dim() < expected.dim()  # the layers leave padding out
        actual, expected = actual if in_rows else actual[~mask], expected[~mask]
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)


def keep(activations, name, of="output"):
    def hook(module, args, output):
        activations[name] = (output if of == "output" else args[0]).detach()

    return hook


@contextlib.contextmanager
def watched(encoder):
    """Stages of an encoder by the reference's names, as they are computed."""
    activations, transformer = {}, encoder.transformer
    handles = [
        encoder.audio_proj.register_forward_hook(keep(activations, "audio_feat")),
        encoder.video_proj.register_forward_hook(keep(activations, "video_feat")),
        encoder.fusion_norm.register_forward_hook(keep(activations, "fused_layer_norm")),
        encoder.fusion_proj.register_forward_hook(keep(activations, "post_extract_proj")),
        transformer.position.register_forward_hook(keep(activations, "pos_conv_in", "input")),
        transformer.position.register_forward_hook(keep(activations, "pos_conv_out")),
        transformer.layers[0].register_forward_hook(keep(activations, "layers_in", "input")),
        transformer.layers[0].attention.register_forward_hook(
            keep(activations, "layer0_self_attn_out")
        ),
        *(
            layer.register_forward_hook(keep(activations, f"layer{i}_out"))
            for i, layer in enumerate(transformer.layers)
        ),
    ]
    yield activations
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("modality", ["av", "audio_only", "video_only"])
def test_every_stage_agrees_with_the_reference(model, modality):
    expected = arrays(f"seq2seq_{modality}")
    inputs, fbank, mouth = batch_inputs(modality)
    mask = inputs["padding_mask"]
    decoder = model.decoder
    with torch.no_grad(), watched(model.encoder) as activations:
        handles = [
            *(
                layer.register_forward_hook(keep(activations, f"dec_layer{i}_out"))
                for i, layer in enumerate(decoder.layers)
            ),
            decoder.layers[0].register_forward_hook(keep(activations, "dec_layers_in", "input")),
            decoder.norm.register_forward_hook(keep(activations, "dec_layer_norm")),
        ]
        encoded = model.encode(fbank, mouth, mask)
        logits = model.decoder(
            inputs["prev_output_tokens"],
            encoded.memory,
            encoded.memory_padding_mask,
        )
    for handle in handles:
        handle.remove()
    for name in ("audio_feat", "video_feat"):
        if name in activations:
            close(activations.pop(name), expected[name].transpose(1, 2), mask)
    padded_tokens = inputs["prev_output_tokens"] == 1
    for name, value in activations.items():
        close(value, expected[name], padded_tokens if name.startswith("dec_") else mask)
    close(encoded.features, expected["encoder_out"], mask)
    close(logits, expected["decoder_logits"], padded_tokens)
    close(logits.log_softmax(-1), expected["decoder_logprobs"], padded_tokens)


@pytest.mark.parametrize("model", ["small_finetuned"], indirect=True)
@pytest.mark.parametrize("training", ["fine-tuned", "pre-trained"])
def test_frontend_stages_agree_with_the_reference(model, pretrained, training):
    tuned = training == "fine-tuned"
    expected = arrays("seq2seq_av" if tuned else "pretrain_av_nomask")
    inputs, _, mouth = batch_inputs("av")
    frontend = (model.encoder if tuned else pretrained[0]).frontend
    activations = {}
    handles = [
        frontend.stem_pool.register_forward_hook(
            lambda m, a, y: activations.update(stem=y.detach())
        ),
        *(
            frontend.blocks[2 * i + 1].register_forward_hook(
                lambda m, a, y, i=i: activations.update(
                    {f"trunk_layer{i + 1}_frame0": y[0].detach()}
                )
            )
            for i in range(4)
        ),
    ]
    whole = frontend(mouth, inputs["padding_mask"]).detach()  # with gradients, layer by layer
    for handle in handles:
        handle.remove()
    with torch.no_grad():
        out = frontend(mouth, inputs["padding_mask"])  # in parts
    torch.testing.assert_close(out, whole, atol=1e-4, rtol=0)
    close(activations.pop("stem")[10:12].transpose(0, 1), expected["frontend3d_b0_t10_t11"])
    for name, value in activations.items():
        close(value, expected[name])
    close(out, expected["resnet_out"].transpose(1, 2), inputs["padding_mask"])


@torch.no_grad()
def test_a_pre_trained_encoder_agrees_with_the_reference(pretrained):
    encoder, dropped = pretrained
    expected = arrays("pretrain_av_nomask")
    inputs, fbank, mouth = batch_inputs("av")
    mask = inputs["padding_mask"]
    with watched(encoder) as activations:
        features = encoder(fbank, mouth, mask).features
    for i in range(3):
        activations[f"output_layer{i + 1}"] = activations[f"layer{i}_out"]
    for name in ("audio_feat", "video_feat"):
        close(activations.pop(name), expected[name].transpose(1, 2), mask)
    for name, value in activations.items():
        close(value, expected[name], mask)
    projected, logits = unit_logits(features, dropped)
    close(features, expected["features_out"], mask)
    close(projected, expected["final_proj"], mask)
    close(logits, expected["all_frame_logits"], mask)


# Where the video of each masked stretch comes from: clip, first frame, length, first source frame.
# (The fixture's ``video_src_index`` names the first frame of the *masked* clip with that content.)
SUBSTITUTED = [
    *[(0, 2, 5, 13), (0, 22, 5, 11)],
    *[(1, 8, 4, 16), (1, 17, 3, 34), (1, 21, 2, 4), (1, 24, 1, 18)],
    (2, 4, 10, 29),
]


@torch.no_grad()
def test_a_pre_trained_encoder_agrees_on_masked_input(pretrained):
    encoder, dropped = pretrained
    expected = arrays("pretrain_av_masked")
    inputs, _, mouth = batch_inputs("av")
    masked, mask = mouth.clone(), inputs["padding_mask"]
    for clip, start, length, source in SUBSTITUTED:
        masked[clip, start : start + length] = mouth[clip, source : source + length]
    features = encoder(expected["audio_masked"].transpose(1, 2), masked, mask).features
    _, logits = unit_logits(features, dropped)
    hidden = expected["mask_audio"] | expected["mask_video"]
    close(logits[hidden & ~mask], expected["logit_m"])
    close(logits[~hidden & ~mask], expected["logit_u"])


@pytest.mark.parametrize("modality", ["av", "video_only"])
def test_padding_in_the_batch_changes_nothing(model, modality):
    inputs, fbank, mouth = batch_inputs(modality)
    mask, lengths = inputs["padding_mask"], inputs["lengths"].tolist()
    with torch.no_grad():
        together = model.encode(fbank, mouth, mask).features
        for i, length in enumerate(lengths):
            alone = model.encode(
                None if fbank is None else fbank[i : i + 1, :length],
                None if mouth is None else mouth[i : i + 1, :length],
            ).features
            torch.testing.assert_close(together[i : i + 1, :length], alone, atol=1e-5, rtol=0)


def test_steps_equal_teacher_forcing(model):
    inputs, fbank, mouth = batch_inputs("av")
    tokens = inputs["prev_output_tokens"]
    with torch.no_grad():
        encoded = model.encode(fbank, mouth, inputs["padding_mask"])
        memory, mask = encoded.memory, encoded.memory_padding_mask
        whole = model.decoder(tokens, memory, mask).log_softmax(-1)
        state = model.decoder.start(memory, mask)
        for i in range(tokens.shape[1]):
            log_probs, state = model.decoder.step(tokens[:, i], state)
            real = tokens[:, i] != 1
            torch.testing.assert_close(log_probs[real], whole[real, i], atol=1e-4, rtol=0)


def test_video_transform_agrees_with_the_reference():
    expected = arrays("video_transforms")
    for name in ("96", "odd", "128", "88"):
        close(normalize_mouth(expected[f"{name}/in_u8"]), expected[f"{name}/out_f32"])


def beam_cases():
    if not REFERENCE:
        return []
    results = json.loads((Path(REFERENCE) / "beam_search.json").read_text())["results"]
    return [pytest.param(name, case, id=name) for name, case in sorted(results.items())]


@pytest.mark.parametrize("model", ["small_finetuned"], indirect=True)
@pytest.mark.parametrize(("name", "case"), beam_cases())
def test_beam_search_agrees_with_the_reference(model, name, case):
    modality = name.split("/")[0]
    inputs, fbank, mouth = batch_inputs("av" if modality.startswith("av") else modality)
    settings, mask = dict(case["settings"]), inputs["padding_mask"]
    if "single_clip" in modality:
        clip = int(modality[-1])
        length = int(inputs["lengths"][clip])
        fbank, mouth, mask = fbank[clip : clip + 1, :length], mouth[clip : clip + 1, :length], None
    source = 104 if fbank is not None else mouth.shape[1]
    limit = int(settings.pop("max_len_a") * source + settings.pop("max_len_b"))
    beam, penalty = settings.pop("beam"), settings.pop("lenpen")
    with torch.no_grad():
        encoded = model.encode(fbank, mouth, mask)
        results = beam_search(
            model.decoder.step,
            model.decoder.start(encoded.memory, encoded.memory_padding_mask),
            sos=EOS,
            eos=EOS,
            pad=PAD,
            unk=UNK,
            max_lengths=torch.full((len(encoded.features),), limit),
            prefix_tokens=settings.pop("prefix_tokens", None),
            options=SearchOptions(
                beam_size=beam,
                nbest=beam,
                ctc_weight=0.0,
                min_len=settings.pop("min_len", 1),
                length_penalty=0.0 if settings.pop("unnormalized", False) else penalty,
                temperature=settings.pop("temperature", 1.0),
                unk_penalty=settings.pop("unkpen", 0.0),
                no_repeat_ngram=settings.pop("no_repeat_ngram_size", 0),
            ),
        )
    assert not settings  # a setting of the reference that this search lacks
    gap = case.get("min_score_gap")
    for hypotheses, expected in zip(results, case["hypos"], strict=True):
        got = [list(h.tokens) for h in hypotheses][: len(expected)]
        want = [[t for t in h["tokens"] if t != EOS] for h in expected]
        if gap is not None and gap < 1e-4:
            got, want = sorted(got), sorted(want)
        assert got == want
        scores = [h.score for h in hypotheses][: len(expected)]
        assert scores == pytest.approx([h["score"] for h in expected], abs=1e-4)
