"""Parity of encoder, decoder and search with the numbers of the reference implementation."""

import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from avsr import cli
from avsr.decoder import EOS, PAD, UNK
from avsr.encoder import normalize_mouth
from avsr.model import load_model
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
    return load_model(folder / "model", "cpu")


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
        actual, expected = actual[~mask], expected[~mask]
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("modality", ["av", "audio_only", "video_only"])
def test_every_stage_agrees_with_the_reference(model, modality):
    expected = arrays(f"seq2seq_{modality}")
    inputs, fbank, mouth = batch_inputs(modality)
    mask = inputs["padding_mask"]
    seen = {}

    def keep(name, of="output"):
        def hook(module, args, output):
            seen[name] = (output if of == "output" else args[0]).detach()

        return hook

    encoder = model.encoder
    handles = [
        encoder.fusion_norm.register_forward_hook(keep("fused_layer_norm")),
        encoder.fusion_proj.register_forward_hook(keep("post_extract_proj")),
        encoder.transformer.position.register_forward_hook(keep("pos_conv_in", "input")),
        encoder.transformer.position.register_forward_hook(keep("pos_conv_out")),
        encoder.transformer.layers[0].register_forward_hook(keep("layers_in", "input")),
        encoder.transformer.layers[0].attention.register_forward_hook(keep("layer0_self_attn_out")),
        *(
            layer.register_forward_hook(keep(f"layer{i}_out"))
            for i, layer in enumerate(encoder.transformer.layers)
        ),
        *(
            layer.register_forward_hook(keep(f"dec_layer{i}_out"))
            for i, layer in enumerate(model.decoder.layers)
        ),
        model.decoder.layers[0].register_forward_hook(keep("dec_layers_in", "input")),
        model.decoder.norm.register_forward_hook(keep("dec_layer_norm")),
    ]
    if mouth is not None:
        handles.append(encoder.video_proj.register_forward_hook(keep("video_feat")))
    if fbank is not None:
        handles.append(encoder.audio_proj.register_forward_hook(keep("audio_feat")))
    with torch.no_grad():
        encoded = model.encode(fbank, mouth, mask)
        logits = model.decoder(
            inputs["prev_output_tokens"],
            encoded.memory,
            encoded.memory_padding_mask,
        )
    for handle in handles:
        handle.remove()
    for name in ("audio_feat", "video_feat"):
        if name in seen:
            close(seen.pop(name), expected[name].transpose(1, 2), mask)
    padded_tokens = inputs["prev_output_tokens"] == 1
    for name, value in seen.items():
        close(value, expected[name], padded_tokens if name.startswith("dec_") else mask)
    close(encoded.features, expected["encoder_out"], mask)
    close(logits, expected["decoder_logits"], padded_tokens)
    close(logits.log_softmax(-1), expected["decoder_logprobs"], padded_tokens)


def test_frontend_stages_agree_with_the_reference(model):
    expected = arrays("seq2seq_av")
    inputs, _, mouth = batch_inputs("av")
    frontend = model.encoder.frontend
    seen = {}
    handles = [
        frontend.stem_pool.register_forward_hook(lambda m, a, y: seen.update(stem=y)),
        *(
            frontend.blocks[2 * i + 1].register_forward_hook(
                lambda m, a, y, i=i: seen.update({f"trunk_layer{i + 1}_frame0": y[0]})
            )
            for i in range(4)
        ),
    ]
    with torch.no_grad():
        out = frontend(mouth, inputs["padding_mask"])
    for handle in handles:
        handle.remove()
    close(seen.pop("stem")[10:12].transpose(0, 1), expected["frontend3d_b0_t10_t11"])
    for name, value in seen.items():
        close(value, expected[name])
    close(out, expected["resnet_out"].transpose(1, 2), inputs["padding_mask"])


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
        found = beam_search(
            model.decoder.step,
            model.decoder.start(encoded.memory, encoded.memory_padding_mask),
            sos=EOS,
            eos=EOS,
            pad=PAD,
            unk=UNK,
            max_lengths=torch.full((len(encoded.features),), limit),
            beginnings=settings.pop("prefix_tokens", None),
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
    for hypotheses, expected in zip(found, case["hypos"], strict=True):
        got = [list(h.tokens) for h in hypotheses][: len(expected)]
        want = [[t for t in h["tokens"] if t != EOS] for h in expected]
        if gap is not None and gap < 1e-4:
            got, want = sorted(got), sorted(want)
        assert got == want
        scores = [h.score for h in hypotheses][: len(expected)]
        assert scores == pytest.approx([h["score"] for h in expected], abs=1e-4)
