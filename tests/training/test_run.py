"""Whole runs on a corpus of a few random utterances: stages, resume, the model directory."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avsr.cli import app as cli
from avsr.corpus import Record, ShardWriter
from avsr.decoder import EOS, Tokenizer
from avsr.errors import ConfigError
from avsr.hub import load_network
from avsr.interop import export_fairseq, import_model
from avsr.language import fit_temperature
from avsr.media import read_waveform
from avsr.model.config import PRESETS
from avsr.model.directory import load_directory, write_directory
from avsr.model.network import AVSRModel
from avsr.recognition.recognizer import Recognizer, load_model
from avsr.training import run
from avsr.training.config import read_config
from avsr.training.dataset import read_utterances
from avsr.training.dry_run import dry_run
from avsr.training.initialization import segment_seconds
from avsr.training.metrics_log import read_csv_table
from avsr.training.recognition_task import RecognitionTask
from avsr.training.stage import validation_batches
from tests.training.conftest import SMALL, TEXTS, stage, weights

VOICE = Path(__file__).parents[2] / "demo/examples/de.mp4"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept") / "first"


@pytest.fixture
def first(recipe, tmp_path, kept):
    """The model directory of a run of two updates, which is trained once."""
    if not kept.exists():
        run.train(recipe("first", [stage(updates=2)]), workers=0)
        (tmp_path / "first").rename(kept)
    return kept / "model"


@pytest.mark.usefixtures("plots")
def test_stages_train_what_they_name_and_a_run_can_start_from_a_model(recipe, first, tmp_path):
    stages = [
        stage("language", train="prompts"),
        stage("joint", train="frozen-frontend", modalities={"av": 1.0}),
    ]
    path = recipe("second", stages, init=str(first), visual_variants=1)
    second = run.train(path, workers=0)
    before = weights(first)
    middle = torch.load(tmp_path / "second/0-language/final.pt", weights_only=True)
    after = weights(second)
    half = {
        name: value.half().float() for name, value in middle.items() if value.is_floating_point()
    }
    changed = {name for name in half if not torch.equal(half[name], before[name])}
    assert changed
    model = load_network(second, "cpu")
    assert list(model.language_models) == list(TEXTS)
    for language, lm in model.language_models.items():
        same, other = (
            lm.log_prob([*model.tokenizer.encode(TEXTS[code]), EOS])
            for code in (language, next(code for code in TEXTS if code != language))
        )
        assert same > other
    assert all("prompts" in name or name.startswith("classifier.") for name in changed)
    changed = {name for name in half if not torch.equal(after[name], half[name])}
    assert any(name.startswith("decoder.") for name in changed)
    assert not any(name.startswith("encoder.frontend.") for name in changed)
    assert json.loads((second / "config.json").read_text())["languages"] == list(TEXTS)
    origin = json.loads((second / "training.json").read_text())
    assert origin["config"]["init"] == str(first)
    assert origin["config"]["stages"][1]["name"] == "joint"
    assert origin["config"]["seed"] == 1
    assert origin["versions"]["torch"] == torch.__version__
    assert "language" in (tmp_path / "second/balance.txt").read_text()
    assert (tmp_path / "second/balance.png").read_bytes().startswith(b"\x89PNG")


def test_an_interrupted_run_ends_like_one_that_was_not(recipe, tmp_path, monkeypatch):
    stages = [stage(updates=4, modalities={"audio": 0.5, "av": 0.5})]
    whole = weights(run.train(recipe("whole", stages), workers=0))

    class StopError(Exception):
        pass

    make = RecognitionTask.training_step

    def stop_in_step_3(self, batch, batch_index):
        if batch.step == 3:
            raise StopError
        return make(self, batch, batch_index)

    monkeypatch.setattr(RecognitionTask, "training_step", stop_in_step_3)
    with pytest.raises(StopError):
        run.train(recipe("cut", stages), workers=0)
    assert (tmp_path / "cut/0-all/last.ckpt").exists()
    monkeypatch.setattr(RecognitionTask, "training_step", make)
    resumed = weights(run.train(recipe("cut", stages), workers=0))
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, msg=name, rtol=0, atol=1e-6)
    for folder in ("whole", "cut"):
        rows = read_csv_table(tmp_path / folder / "0-all/metrics.csv")
        assert [row["step"] for row in rows] == [2, 4]


def test_language_probabilities_are_calibrated_on_validation_data(recipe):
    path = recipe("run", [stage(modalities={"audio": 1.0})])
    model = load_directory(run.train(path, workers=0))
    config = read_config(path)
    data, _ = read_utterances(config.validation, config.languages)
    batches = validation_batches(config, config.stages[0], model.tokenizer, data, {})
    with torch.inference_mode():
        logits = [
            model.language_logits(model.encode(b.fbank, None, b.padding_mask)) for b in batches
        ]
    expected = fit_temperature(torch.cat(logits), torch.cat([b.languages for b in batches]))
    assert expected != pytest.approx(1.0, abs=0.01)
    assert model.config.language_temperature == pytest.approx(expected, rel=1e-3)
    assert model.config.segment_seconds == segment_seconds(data) == 1.0


@pytest.mark.parametrize(
    ("frames", "seconds"),
    [([10] * 200, 1.0), ([60] * 199 + [400], 3.0), ([50] * 100 + [101] * 100, 5.0), ([900], 20.0)],
)
def test_segments_are_as_long_as_nearly_all_utterances(frames, seconds):
    assert segment_seconds(SimpleNamespace(lengths=np.array(frames))) == seconds


@pytest.mark.usefixtures("plots")
def test_training_lowers_the_loss(recipe, tmp_path):
    path = recipe("long", [stage(updates=60, learning_rate=5e-3, modalities={"audio": 1.0})])
    run.train(path, workers=0)
    rows = read_csv_table(tmp_path / "long/0-all/metrics.csv")
    assert [row["step"] for row in rows if "audio/attention" in row] == [50]
    scores = [row["valid/audio/attention"] for row in rows if "valid/audio/attention" in row]
    assert scores[-1] < 0.7 * scores[0]
    for name in ("curves.png", "languages.png"):
        assert (tmp_path / "long" / name).read_bytes().startswith(b"\x89PNG")


def test_a_network_without_prompts_trains(recipe):
    directory = run.train(recipe("plain", [stage(balance=False)], prompts=0), workers=0)
    assert weights(directory)["encoder.transformer.prompts"].numel() == 0
    result = load_model(directory, "cpu").transcribe_arrays(read_waveform(VOICE), None)
    assert set(result.language_probs) == set(TEXTS)


def test_a_run_can_start_from_an_encoder(recipe, first, monkeypatch):
    path = recipe("second", [stage(updates=1, train="prompts")], init_encoder=str(first))
    second = weights(run.train(path, workers=0))
    for name, value in weights(first).items():
        is_copied = name.startswith("encoder.") and not name.endswith("prompts")
        if is_copied or name.startswith("decoder.layers.0.ffn_in.weight"):
            assert torch.equal(second[name], value) == is_copied, name
    encoder = dataclasses.replace(SMALL.encoder, layers=2)
    monkeypatch.setitem(PRESETS, "tiny", dataclasses.replace(SMALL, encoder=encoder))
    with pytest.raises(ConfigError, match=r"init_encoder: the encoder sizes of .* differ"):
        run.train(recipe("third", [stage()], init_encoder=str(first)), workers=0)


def test_a_stage_ends_with_the_best_validation(recipe, tmp_path, monkeypatch):
    rates = iter([0.5, 0.2, 0.4])
    weights_by_rate = {}

    def score(self):
        self.valid_scores = {"valid/wer": next(rates)}
        self.log("valid/wer", self.valid_scores["valid/wer"], logger=False)
        weights_by_rate[self.valid_scores["valid/wer"]] = {
            name: value.half().float() for name, value in self.model.state_dict().items()
        }

    monkeypatch.setattr(RecognitionTask, "on_validation_epoch_end", score)
    path = recipe("best", [stage(updates=6, modalities={"audio": 1.0})], select_best=True)
    best = weights(run.train(path, workers=0))
    name = "decoder.layers.0.ffn_in.weight"
    assert torch.equal(best[name], weights_by_rate[0.2][name])
    assert not torch.equal(best[name], weights_by_rate[0.4][name])
    rows = read_csv_table(tmp_path / "best/0-all/metrics.csv")
    assert [row["valid/wer"] for row in rows] == [0.5, 0.2, 0.4]


def test_a_model_for_other_languages_is_refused(recipe, first):
    path = recipe("other", [stage()], init=str(first), languages=["de", "en"])
    with pytest.raises(ConfigError, match=r"is for de, en, fr, the recipe for de, en"):
        run.train(path, workers=0)


def test_a_vocabulary_of_another_size_is_refused(recipe, first, tmp_path):
    shutil.copytree(first.parent, tmp_path / "first")
    with pytest.raises(ConfigError, match="use another 'out'"):
        run.train(recipe("first", [stage(updates=2)], vocabulary_size=19), workers=0)


def test_texts_that_the_tokenizer_does_not_know_are_refused(recipe, first, tmp_path):
    greek = tmp_path / "greek"
    with ShardWriter(greek, "train") as writer:
        record = Record(
            utterance_id="a", media="x.tar", start=0.0, end=0.4, text="ένα α", language="fr",
            split="train", speaker="s",
        )  # fmt: skip
        writer.write(record, np.zeros(6400), None)
    path = recipe("more", [stage()], init=str(first), corpora=[{"path": str(greek)}])
    with pytest.raises(ConfigError, match=r"fr: 4 characters of \d+ tokens.* train without 'init'"):
        run.train(path, workers=0)


def test_a_dry_run_prints_the_plan_and_leaves_nothing(recipe, tmp_path, capsys):
    stages = [stage(updates=30), stage("joint", train="frozen-frontend", updates=5)]
    path = recipe("dry", stages)
    assert cli.main(["train", str(path), "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert "gamma" in output
    assert re.search(r"all: 30 updates of \d\.\d utterances on 1 device, 0\.0 h of speech", output)
    assert "joint: 5 updates" in output
    assert not (tmp_path / "dry").exists()


def test_a_batch_that_does_not_fit_is_found_before_training(recipe, monkeypatch):
    def out_of_memory(*arguments):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(RecognitionTask, "loss", out_of_memory)
    with pytest.raises(ConfigError, match=r"stage all: .* does not fit into memory: lower"):
        dry_run(recipe("dry", [stage()]))


def test_a_stage_ends_with_the_mean_of_its_last_checkpoints(recipe, tmp_path):
    stages = [stage(updates=8, modalities={"audio": 1.0})]
    run.train(recipe("mean", stages, average_checkpoints=2), workers=0)
    folder = tmp_path / "mean/0-all"
    assert sorted(path.name for path in folder.glob("step=*.ckpt")) == [
        "step=6.ckpt",
        "step=8.ckpt",
    ]
    states = [
        torch.load(folder / f"step={step}.ckpt", weights_only=True)["state_dict"] for step in (6, 8)
    ]
    final = torch.load(folder / "final.pt", weights_only=True)
    for name in ("ctc.weight", "classifier.norms.0.running_mean"):
        a, b = (state[f"model.{name}"] for state in states)
        assert not torch.equal(a, b)
        torch.testing.assert_close(final[name], (a + b) / 2)


def test_a_frozen_encoder_learns_prompts_only(recipe, first):
    second = run.train(
        recipe("second", [stage("warm", train="frozen-encoder")], init=str(first)), workers=0
    )
    before, after = weights(first), weights(second)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    inside = {name for name in changed if name.startswith("encoder.")}
    assert inside == {"encoder.transformer.prompts"}
    assert any(name.startswith("decoder.") for name in changed)


@pytest.fixture(params=["pre-trained", "fine-tuned"])
def imported(request, tmp_path):
    """An import of a checkpoint of AV-HuBERT's layout, and its network."""
    parts = ("encoder",) if request.param == "pre-trained" else ("encoder", "decoder")
    tokenizer = Tokenizer.train([*TEXTS.values()] * 4, 18) if "decoder" in parts else None
    config = dataclasses.replace(
        SMALL,
        encoder=dataclasses.replace(SMALL.encoder, layers=2, prompts=0),
        decoder=dataclasses.replace(SMALL.decoder, dim=64, heads=8),
        vocabulary_size=18,
        languages=("es",),
        parts=parts,
    )
    torch.manual_seed(5)
    model = AVSRModel(config, tokenizer)
    card = "# Imported\n\nLicence: for nobody\n"
    write_directory(tmp_path / "source", config, model.state_dict(), tokenizer, card)
    export_fairseq(tmp_path / "source", tmp_path / "checkpoint")
    import_model(tmp_path / "checkpoint", tmp_path / "imported")
    return tmp_path / "imported", model


def test_an_import_is_a_start(recipe, imported, tmp_path):
    directory, source = imported
    recipe_path = recipe("tuned", [stage("new", updates=2, train="prompts")], init=str(directory))
    trained = run.train(recipe_path, workers=0)
    model = load_network(trained, "cpu")
    assert model.config.languages == tuple(TEXTS)
    start = load_directory(directory).config
    assert model.config.encoder == dataclasses.replace(start.encoder, prompts=2)
    is_tuned = source.has("decoder")
    assert model.config.decoder == (start if is_tuned else SMALL).decoder
    assert set(model.config.parts) == {"encoder", "classifier", "decoder", "ctc"}
    state = model.state_dict()
    for name, value in source.state_dict().items():
        if value.numel():
            assert torch.equal(
                state[name], value.half().float() if value.is_floating_point() else value
            )
    if is_tuned:
        assert model.tokenizer.model == source.tokenizer.model
        assert not state["decoder.language_embedding.weight"].any()
    assert (
        "Licence: as the weights it began with: for nobody" in (trained / "README.md").read_text()
    )
    assert set(
        Recognizer(model).transcribe_arrays(read_waveform(VOICE), None).language_probs
    ) == set(TEXTS)


def test_all_of_an_import_trains_on(recipe, imported):
    directory, source = imported
    trained = run.train(recipe("on", [stage(updates=2)], init=str(directory), prompts=0), workers=0)
    state = weights(trained)
    assert state["encoder.transformer.prompts"].numel() == 0
    name = "encoder.transformer.layers.1.ffn_in.weight"
    difference = (state[name] - source.state_dict()[name]).abs().max()
    assert 1e-4 < difference < 0.1


def test_the_encoder_of_an_import_is_a_start(recipe, imported, monkeypatch):
    directory, source = imported
    encoder = dataclasses.replace(SMALL.encoder, layers=2)
    monkeypatch.setitem(PRESETS, "tiny", dataclasses.replace(SMALL, encoder=encoder))
    stages = [stage(updates=1, train="prompts")]
    state = weights(run.train(recipe("start", stages, init_encoder=str(directory)), workers=0))
    assert state["encoder.transformer.prompts"].numel() > 0
    name = "encoder.transformer.layers.1.ffn_in.weight"
    assert torch.equal(state[name], source.state_dict()[name].half().float())


def test_prompts_are_for_new_networks_and_imports(recipe, first):
    with pytest.raises(ConfigError, match="prompts can be set for new or imported"):
        run.train(recipe("second", [stage()], init=str(first), prompts=3), workers=0)
