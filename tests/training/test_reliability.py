"""Training of reliability scores: what batches know, the loss, and runs that add the scores."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from avsr.decoder import Tokenizer
from avsr.errors import ConfigError, ModelError
from avsr.hub import load_network
from avsr.interop import export_fairseq
from avsr.interop.quantized_export import convert_model
from avsr.model.directory import load_directory, save_directory
from avsr.model.network import AVSRModel
from avsr.training import run
from avsr.training.batches import BatchPlan
from avsr.training.collate import BatchMaker
from avsr.training.config import StageConfig, read_config
from avsr.training.dataset import read_utterances
from avsr.training.initialization import add_reliability
from avsr.training.lips import VisualFeatures
from avsr.training.losses import NO_TARGET, reliability_loss
from avsr.training.metrics_log import read_csv_table
from avsr.training.recognition_task import RecognitionTask
from avsr.training.run_inputs import prepare_run
from avsr.training.visual_cache import cache_visual_features
from tests.training.conftest import SMALL, TEXTS, stage

QUIET = StageConfig(
    name="s", updates=1, noise_probability=0.0, mask_probability=0.0, offset_probability=0.0
)
PLAN = BatchPlan(0, "av", tuple(range(9)))


@pytest.fixture
def data(recipe):
    config = read_config(recipe("data", [stage()]))
    return read_utterances(config.corpora, config.languages)[0]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([*TEXTS.values()] * 4, 18)


def make_batch(data, tokenizer, plan=PLAN, probability=0.0, augment=True, **options):
    noises = {"babble": [np.random.default_rng(3).normal(0, 0.1, 8000).astype(np.float32)]}
    settings = dataclasses.replace(QUIET, **options)
    make = BatchMaker(data, tokenizer, noises, settings, [1], augment, {}, probability)
    return make(plan)


def test_the_loss_is_a_cross_entropy_over_known_frames():
    scores = torch.tensor([[[0.9, 0.2], [0.5, 0.5]], [[0.3, 0.3], [0.3, 0.3]]])
    targets = torch.tensor([[[1.0, 0.0], [0.5, NO_TARGET]], [[NO_TARGET] * 2] * 2])
    expected = -(math.log(0.9) + math.log(0.8) + math.log(0.5)) / 3
    assert reliability_loss(scores, targets).tolist() == pytest.approx([expected, 0.0])


def test_clean_clips_are_reliable(data, tokenizer):
    targets = make_batch(data, tokenizer).reliability_targets
    assert targets.shape == (9, 10, 2)
    assert (targets == 1).all()
    for modality, column in (("audio", 1), ("video", 0)):
        plan = dataclasses.replace(PLAN, modality=modality)
        targets = make_batch(data, tokenizer, plan).reliability_targets
        assert (targets[..., column] == NO_TARGET).all()


def test_padding_has_no_target(data, tokenizer):
    data.lengths = np.where(np.arange(len(data)) == 1, 7, data.lengths)
    targets = make_batch(data, tokenizer).reliability_targets
    assert (targets[1, 7:] == NO_TARGET).all()
    assert (targets[1, :7] == 1).all()


@pytest.mark.parametrize(("snr_db", "target"), [(-20.0, 0.0), (0.0, 0.5), (15.0, 1.0)])
def test_noise_decides_on_the_sound(data, tokenizer, snr_db, target):
    batch = make_batch(data, tokenizer, noise_probability=1.0, snr_db=(snr_db, snr_db))
    assert (batch.reliability_targets[..., 0] == target).all()
    assert (batch.reliability_targets[..., 1] == 1).all()


@pytest.mark.parametrize("is_stored", [False, True])
def test_wrong_lips_are_those_of_another_text(data, tokenizer, is_stored):
    if is_stored:  # the number of the utterance
        arrays = [np.full((1, 10, 2), i, np.float16) for i in range(12)]
        data.visual = VisualFeatures(arrays=arrays)
    clean = make_batch(data, tokenizer)
    batch = make_batch(data, tokenizer, wrong_lips_probability=1.0)
    wrong = (batch.reliability_targets[..., 1] == 0).all(1)
    assert wrong.sum() >= 8  # of five draws one says something else
    assert (batch.reliability_targets[..., 0] == 1).all()
    if is_stored:
        others = batch.visual[:, 0, 0].long()
        texts = [sample.record.text for sample in data.samples]
        assert all(texts[i] != texts[j] for i, j in enumerate(others.tolist()) if wrong[i])
    else:
        assert (batch.mouth[wrong] != clean.mouth[wrong]).flatten(1).any(1).all()
    video = dataclasses.replace(PLAN, modality="video")
    targets = make_batch(data, tokenizer, video, wrong_lips_probability=1.0).reliability_targets
    assert (targets[..., 1] == 1).all()


@pytest.mark.parametrize(("name", "column"), [("lips_drop", 1), ("sound_drop", 0)])
def test_lost_spans_have_their_target(data, tokenizer, name, column):
    targets = make_batch(data, tokenizer, **{f"{name}_probability": 1.0}).reliability_targets
    assert (targets[..., column] == 0).any(1).sum() >= 6
    assert (targets[..., 1 - column] == 1).all()


def test_masks_have_the_target_of_what_they_leave(data, tokenizer):
    plan = dataclasses.replace(PLAN, indices=(0,) * 9)
    batches = [
        make_batch(data, tokenizer, dataclasses.replace(plan, step=i), mask_probability=1.0)
        for i in range(12)
    ]
    for batch in batches:
        silent = (batch.fbank == 0).all(2)
        assert torch.equal(batch.reliability_targets[..., 0], 1.0 - silent.float())
        blank = (batch.mouth == 0).flatten(2).all(2)
        assert torch.equal(batch.reliability_targets[..., 1], 1.0 - blank.float())
    assert any((batch.reliability_targets == 0).any() for batch in batches)


def test_stored_variants_know_their_corruptions(data, tmp_path):
    model = AVSRModel(SMALL).eval()
    options = {"seed": 5, "corruption_probability": 0.7}
    arrays = cache_visual_features(model, data, tmp_path / "train", variants=3, **options)
    clean = cache_visual_features(model, data, tmp_path / "clean", variants=3, seed=5)
    visual = VisualFeatures(arrays=arrays, **options)
    corrupted = 0
    for index, variant in np.ndindex(9, 3):
        lips = visual.lips(index, variant)
        assert torch.equal(lips.frames, torch.from_numpy(arrays[index][variant]).float())
        touched = bool((lips.readable() != 1).any())
        changed = (arrays[index][variant] != clean[index][variant]).any()
        assert changed or not touched
        corrupted += touched
        assert variant or not touched
    assert corrupted >= 5


def test_scores_are_added_to_a_model_and_learn(recipe, tmp_path):
    first = run.train(recipe("first", [stage()]), workers=0)
    assert "reliability" not in json.loads((first / "config.json").read_text())["encoder"]
    more = {"reliability": True, "init": str(first), "visual_corruption_probability": 0.5}
    options = {
        "reliability_loss_weight": 1.0,
        "wrong_lips_probability": 0.3,
        "lips_drop_probability": 0.3,
        "sound_drop_probability": 0.3,
        "modalities": {"av": 1.0},
    }
    stages = [
        stage("scores", train="reliability", updates=2, **options),
        stage("cached", train="frozen-frontend", updates=40, learning_rate=3e-3, **options),
        stage("all", updates=2, **options),
    ]
    path = recipe("second", stages, **more)
    start = prepare_run(read_config(path), tmp_path).model.eval()
    second = run.train(path, workers=0)
    scores = torch.load(tmp_path / "second/0-scores/final.pt", weights_only=True)
    before = start.state_dict()
    changed = {name for name in before if not torch.equal(before[name], scores[name])}
    assert changed
    assert all(name.startswith("encoder.reliability.") for name in changed)
    model = load_directory(second)
    assert model.config.encoder.reliability
    assert start.encoder.reliability.out.bias.tolist() == [4.0, 4.0]
    assert model.encoder.reliability.out.weight.any()
    rows = read_csv_table(tmp_path / "second/1-cached/metrics.csv")
    losses = [row["valid/av/reliability"] for row in rows if "valid/av/reliability" in row]
    assert 0 < min(losses) < 5
    # What has the scores keeps them, and trains on without being asked to.
    third = run.train(recipe("third", [stage(updates=1)], init=str(second)), workers=0)
    assert load_directory(third).config.encoder.reliability


def test_an_interrupted_run_with_scores_ends_like_one_that_was_not(recipe, tmp_path, monkeypatch):
    options = {"reliability_loss_weight": 1.0, "wrong_lips_probability": 0.5}
    stages = [stage(updates=4, modalities={"av": 1.0}, **options)]
    whole = load_directory(run.train(recipe("whole", stages, reliability=True), workers=0))
    step = RecognitionTask.training_step

    def stop(self, batch, batch_index):
        if batch.step == 3:
            raise InterruptedError
        return step(self, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(RecognitionTask, "training_step", stop)
        with pytest.raises(InterruptedError):
            run.train(recipe("cut", stages, reliability=True), workers=0)
    assert (tmp_path / "cut/0-all/last.ckpt").exists()
    cut = load_directory(run.train(recipe("cut", stages, reliability=True), workers=0))
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(cut.state_dict()[name], value, msg=name, rtol=0, atol=1e-6)


def test_a_loss_without_scores_is_a_mistake(recipe):
    path = recipe("none", [stage(reliability_loss_weight=1.0)])
    with pytest.raises(ConfigError, match="stage all: reliability_loss_weight needs a network"):
        run.train(path, workers=0)


def test_scores_alone_are_trained_on_clips_of_both(recipe):
    path = recipe("none", [stage(train="reliability")], reliability=True)
    with pytest.raises(ConfigError, match=r"reliability needs modalities: \{av: 1.0\}"):
        run.train(path, workers=0)


def test_an_encoder_with_scores_needs_a_network_with_scores(recipe):
    first = run.train(recipe("first", [stage(updates=1)], reliability=True), workers=0)
    path = recipe("second", [stage(updates=1)], init_encoder=str(first))
    with pytest.raises(ConfigError, match="weighs sound and lips: set reliability: true"):
        run.train(path, workers=0)
    path = recipe("third", [stage(updates=1, train="prompts")], init_encoder=str(first))
    path.write_text(path.read_text() + "reliability: true\n")
    third = load_network(run.train(path, workers=0), "cpu").encoder.reliability.state_dict()
    for name, value in load_network(first, "cpu").encoder.reliability.state_dict().items():
        assert torch.equal(third[name], value), name


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A model directory of the bundled model with scores that depend on the frame."""
    folder = tmp_path_factory.mktemp("scored")
    model = load_network("tiny", "cpu", "fp32")
    torch.manual_seed(0)
    add_reliability(model)
    torch.nn.init.normal_(model.encoder.reliability.out.weight, std=3.0)
    model.language_models = {}
    save_directory(model, folder / "model", card="Licence: none\n", half=False)
    return folder / "model"


@torch.no_grad()
@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_scores_stay_in_single_precision(scored, tmp_path, precision):
    convert_model(scored, tmp_path / "converted", precision)
    generator = torch.Generator().manual_seed(1)
    fbank = torch.randn(2, 20, 104, generator=generator)
    visual = torch.randn(2, 20, 128, generator=generator)
    scores = []
    for directory in (scored, tmp_path / "converted"):
        for packed in (False, True):
            model = load_directory(directory, "auto", packed=packed)
            scores.append(model.encode(fbank, None, visual=visual).reliability)
    assert scores[0].std() > 0.1
    for other in scores[1:]:
        torch.testing.assert_close(other, scores[0], atol=1e-4, rtol=0)


def test_a_layout_without_scores_refuses_them(recipe, tmp_path):
    options = {"reliability": True, "prompts": 0}
    model = run.train(recipe("plain", [stage(updates=1)], **options), workers=0)
    with pytest.raises(ModelError, match="weighs sound and lips by their reliability"):
        export_fairseq(model, tmp_path / "fairseq")
    assert not (tmp_path / "fairseq").exists()
