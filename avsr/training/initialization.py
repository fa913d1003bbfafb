"""The network that a run starts with: new, from a model, or with parts of other models."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import torch

from avsr.decoder import Tokenizer
from avsr.encoder.modality_reliability import ModalityReliability
from avsr.errors import ConfigError, ModelError
from avsr.hub import find_model
from avsr.model.config import PARTS, PRESETS
from avsr.model.directory import load_directory, read_licence
from avsr.model.network import AVSRModel
from avsr.rates import FPS, MAX_SEGMENT_SECONDS
from avsr.runtime.atomic_files import replace_bytes
from avsr.training.config import TrainConfig
from avsr.training.dataset import Utterances

INHERITED = "as the weights it began with: "


def initial_model(config: TrainConfig, data: Utterances, out: Path) -> AVSRModel:
    """Build the network that the first stage starts with: the one in ``init``, or a new one.

    Args:
        config: Settings of the run.
        data: Training data, on whose texts the tokenizer of a new network is trained.
        out: Folder of the run, where that tokenizer is stored.

    Returns:
        The network, with a tokenizer.

    Raises:
        ConfigError: The model in ``init`` does not fit the recipe.
    """
    if config.init is not None:
        model = load_directory(find_model(config.init))
        if set(model.config.parts) != set(PARTS):
            return add_missing_parts(model, config, data, out)
        if config.prompts is not None:
            raise ConfigError(
                f"prompts can be set for new or imported networks only, not with {config.init}"
            )
        if model.config.languages != config.languages:
            raise ConfigError(
                f"the model {config.init} is for {', '.join(model.config.languages)}, "
                f"the recipe for {', '.join(config.languages)}"
            )
        if config.reliability and not model.config.encoder.reliability:
            add_reliability(model)
        return model
    preset = PRESETS[config.preset]
    encoder = preset.encoder
    if config.prompts is not None:
        encoder = dataclasses.replace(encoder, prompts=config.prompts)
    if config.reliability:
        encoder = dataclasses.replace(encoder, reliability=True)
    sizes = dataclasses.replace(
        preset,
        encoder=encoder,
        vocabulary_size=config.vocabulary_size,
        languages=config.languages,
        segment_seconds=segment_seconds(data),
    )
    return AVSRModel(sizes, train_tokenizer(config, data, out))


def add_missing_parts(
    model: AVSRModel, config: TrainConfig, data: Utterances, out: Path
) -> AVSRModel:
    """Add new parts for the recipe's languages to an imported network.

    These are prompts, classifier and CTC head, for a pre-trained encoder also decoder and
    tokenizer, and reliability scores if the recipe has them. They have the sizes of the preset.
    """
    preset = PRESETS[config.preset]
    prompts = preset.encoder.prompts if config.prompts is None else config.prompts
    tokenizer = model.tokenizer or train_tokenizer(config, data, out)
    sizes = dataclasses.replace(
        preset,
        encoder=dataclasses.replace(
            model.config.encoder,
            prompts=prompts,
            reliability=config.reliability or model.config.encoder.reliability,
        ),
        decoder=model.config.decoder if model.has("decoder") else preset.decoder,
        vocabulary_size=len(tokenizer),
        languages=config.languages,
        segment_seconds=segment_seconds(data),
    )
    complete = AVSRModel(sizes, tokenizer)
    new = complete.state_dict()
    old = {name: w for name, w in model.state_dict().items() if new[name].shape == w.shape}
    complete.load_state_dict(old, strict=False)
    if model.has("decoder"):  # zero language vectors leave its outputs as they were
        torch.nn.init.zeros_(complete.decoder.language_embedding.weight)
    return complete


def add_reliability(model: AVSRModel) -> None:
    """Give the encoder of a network new reliability scores, which leave its outputs as they are."""
    encoder = dataclasses.replace(model.config.encoder, reliability=True)
    model.config = dataclasses.replace(model.config, encoder=encoder)
    model.encoder.config = encoder
    model.encoder.reliability = ModalityReliability(encoder.dim)


def segment_seconds(data: Utterances) -> float:
    """Return the 99th percentile of the utterances' durations, in whole seconds from 1 to 20."""
    percentile = math.ceil(np.percentile(data.lengths, 99) / FPS)
    return min(MAX_SEGMENT_SECONDS, max(1.0, percentile))


def train_tokenizer(config: TrainConfig, data: Utterances, out: Path) -> Tokenizer:
    """Train a tokenizer on the training texts, or load the one that the run has stored.

    Raises:
        ConfigError: The stored one has another vocabulary size than the recipe.
    """
    path = out / "tokenizer.model"
    if path.exists():
        try:
            tokenizer = Tokenizer.load(path)
        except ModelError as error:
            raise ConfigError(f"{error}: put it back, or start anew with --fresh") from error
    else:
        texts = (sample.record.text for sample in data.samples)
        tokenizer = Tokenizer.train(texts, config.vocabulary_size)
        replace_bytes(path, tokenizer.model)
    if len(tokenizer) != config.vocabulary_size:
        raise ConfigError(
            f"the run's tokenizer has {len(tokenizer)} tokens, the recipe asks for "
            f"{config.vocabulary_size}; use another 'out'"
        )
    return tokenizer


def copy_pretrained(model: AVSRModel, config: TrainConfig) -> None:
    """Copy encoder and visual front end from the models in ``init_encoder`` and ``init_frontend``.

    Raises:
        ConfigError: Their sizes differ from the network's.
    """
    encoder = model.encoder
    if config.init_encoder is not None:
        source = load_directory(find_model(config.init_encoder)).encoder
        if source.config.reliability and not encoder.config.reliability:
            raise ConfigError(
                f"init_encoder: {config.init_encoder} weighs sound and lips: set reliability: true"
            )
        state = {
            name: value
            for name, value in encoder.state_dict().items()
            if name == "transformer.prompts" or name.startswith("reliability.")
        }
        state = state | {n: v for n, v in source.state_dict().items() if n != "transformer.prompts"}
        try:
            encoder.load_state_dict(state)
        except RuntimeError as error:
            raise ConfigError(
                f"init_encoder: the encoder sizes of {config.init_encoder} differ from those "
                f"of the preset '{config.preset}'"
            ) from error
    if config.init_frontend is not None:
        source = load_directory(find_model(config.init_frontend)).encoder
        try:
            encoder.frontend.load_state_dict(source.frontend.state_dict())
            encoder.video_proj.load_state_dict(source.video_proj.state_dict())
        except RuntimeError as error:
            raise ConfigError(
                f"init_frontend: the size of the visual front end of {config.init_frontend} differs"
            ) from error


def inherited_licence(config: TrainConfig) -> str:
    """Return a line for the model card with the licences of the models that the run starts from."""
    origins = [p for p in (config.init, config.init_encoder, config.init_frontend) if p is not None]
    licences = (read_licence(find_model(name)).removeprefix(INHERITED) for name in origins)
    text = "; ".join(dict.fromkeys(licences))
    return f"\nLicence: {INHERITED}{text}\n" if text else ""
