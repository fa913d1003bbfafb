"""The network that a training run starts with: new, from a model, or from parts of models."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import torch

from avsr.audio import MAX_SECONDS
from avsr.decoder import Tokenizer
from avsr.errors import ConfigError
from avsr.hub import find_model
from avsr.model.config import PARTS, PRESETS
from avsr.model.directory import load_directory, read_licence
from avsr.model.network import AVSRModel
from avsr.rates import FPS
from avsr.training.config import TrainConfig
from avsr.training.dataset import Utterances

INHERITED = "as the weights it began with: "


def initial_model(config: TrainConfig, data: Utterances, out: Path) -> AVSRModel:
    """The network that the first stage starts with: from ``init``, or a new one.

    A new one gets a tokenizer trained on the training texts, kept in the run's folder.
    """
    if config.init is not None:
        model = load_directory(find_model(config.init))
        if set(model.config.parts) != set(PARTS):
            return complete(model, config, data, out)
        if config.prompts is not None:
            raise ConfigError(f"prompts goes without init, unless {config.init} were an import")
        if model.config.languages != config.languages:
            raise ConfigError(
                f"the model {config.init} is for {', '.join(model.config.languages)}, "
                f"the recipe for {', '.join(config.languages)}"
            )
        return model
    preset = PRESETS[config.preset]
    encoder = preset.encoder
    if config.prompts is not None:
        encoder = dataclasses.replace(encoder, prompts=config.prompts)
    sizes = dataclasses.replace(
        preset,
        encoder=encoder,
        vocabulary_size=config.vocabulary_size,
        languages=config.languages,
        segment_seconds=usual_seconds(data),
    )
    return AVSRModel(sizes, train_tokenizer(config, data, out))


def complete(model: AVSRModel, config: TrainConfig, data: Utterances, out: Path) -> AVSRModel:
    """An imported network with the parts that it lacks, new and for the recipe's languages.

    These are prompts, classifier and CTC head, for a pre-trained encoder also decoder and
    tokenizer; their sizes are the preset's.
    """
    preset = PRESETS[config.preset]
    prompts = preset.encoder.prompts if config.prompts is None else config.prompts
    tokenizer = model.tokenizer or train_tokenizer(config, data, out)
    sizes = dataclasses.replace(
        preset,
        encoder=dataclasses.replace(model.config.encoder, prompts=prompts),
        decoder=model.config.decoder if model.has("decoder") else preset.decoder,
        vocabulary_size=len(tokenizer),
        languages=config.languages,
        segment_seconds=usual_seconds(data),
    )
    whole = AVSRModel(sizes, tokenizer)
    new = whole.state_dict()
    old = {name: w for name, w in model.state_dict().items() if new[name].shape == w.shape}
    whole.load_state_dict(old, strict=False)
    if model.has("decoder"):  # it begins as the decoder that it was, told of no language
        torch.nn.init.zeros_(whole.decoder.language_embedding.weight)
    return whole


def usual_seconds(data: Utterances) -> float:
    """Whole seconds that 99 of 100 training utterances are no longer than, at most 20."""
    longest = math.ceil(np.percentile(data.lengths, 99) / FPS)
    return min(MAX_SECONDS, max(1.0, longest))


def train_tokenizer(config: TrainConfig, data: Utterances, out: Path) -> Tokenizer:
    """A tokenizer of the training texts, or the one that the run's folder already has."""
    path = out / "tokenizer.model"
    if path.exists():
        tokenizer = Tokenizer.load(path)
    else:
        texts = (sample.record.text for sample in data.samples)
        tokenizer = Tokenizer.train(texts, config.vocabulary_size)
        path.write_bytes(tokenizer.model)
    if len(tokenizer) != config.vocabulary_size:
        raise ConfigError(
            f"the run's tokenizer has {len(tokenizer)} tokens, the recipe asks for "
            f"{config.vocabulary_size}; use another 'out'"
        )
    return tokenizer


def copy_pretrained(model: AVSRModel, config: TrainConfig) -> None:
    """Copy encoder and visual front end from the models that ``config`` names for them."""
    encoder = model.encoder
    if config.init_encoder is not None:
        source = load_directory(find_model(config.init_encoder)).encoder
        taken = source.state_dict() | {"transformer.prompts": encoder.transformer.prompts}
        try:
            encoder.load_state_dict(taken)
        except RuntimeError as error:
            raise ConfigError(
                f"init_encoder: the encoder of {config.init_encoder} is of other sizes than the "
                f"preset '{config.preset}'"
            ) from error
    if config.init_frontend is not None:
        source = load_directory(find_model(config.init_frontend)).encoder
        try:
            encoder.frontend.load_state_dict(source.frontend.state_dict())
            encoder.video_proj.load_state_dict(source.video_proj.state_dict())
        except RuntimeError as error:
            raise ConfigError("init_frontend: its visual front end is of another size") from error


def inherited_licence(config: TrainConfig) -> str:
    """A line for the card: the licences of the models that the weights come from, if any."""
    origins = [p for p in (config.init, config.init_encoder, config.init_frontend) if p is not None]
    said = (read_licence(find_model(name)).removeprefix(INHERITED) for name in origins)
    licences = "; ".join(dict.fromkeys(said))
    return f"\nLicence: {INHERITED}{licences}\n" if licences else ""
