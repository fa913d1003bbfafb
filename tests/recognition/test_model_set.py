"""Several models as one: which language wins, what is in memory, what is refused."""

import gc
import json
import math
import wave
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from avsr.cli import app as cli
from avsr.decoder import DecoderConfig, Tokenizer
from avsr.encoder import AVHubertConfig
from avsr.errors import AvsrError, ConfigError, LanguageError, ModelError
from avsr.hub import load_network
from avsr.interop import import_model
from avsr.media import read_waveform
from avsr.model.config import PARTS, ModelConfig
from avsr.model.directory import save_directory
from avsr.model.network import AVSRModel
from avsr.recognition import language_id
from avsr.recognition import model_set as modelset
from avsr.recognition.inference import recognize_scored
from avsr.recognition.model_set import ModelSet
from avsr.recognition.options import TranscribeOptions
from avsr.recognition.reading import read_recording

VIDEO = Path(__file__).parents[2] / "demo/examples/en.mp4"
SURENESS = {"de": 0.0, "fr": 1.0, "es": 0.2}  # scale of the logits: 0 makes all tokens alike


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["ein kleiner satz", "a small sentence"] * 10, 20)


def write_model(directory, tokenizer, languages, *, parts=("encoder", "decoder"), sureness=1.0):
    torch.manual_seed(len(directory.name))
    config = ModelConfig(
        encoder=AVHubertConfig(
            layers=1, dim=32, ffn_dim=48, heads=4, frontend_width=4, prompts=0, position_kernel=8
        ),
        decoder=DecoderConfig(layers=1, dim=32, ffn_dim=48, heads=4),
        classifier_channels=8,
        vocabulary_size=20,
        languages=languages,
        parts=parts,
    )
    model = AVSRModel(config, tokenizer).eval()
    torch.nn.init.constant_(model.decoder.norm.weight, sureness)
    if model.has("classifier"):  # knows nothing but how often a language is spoken
        torch.nn.init.zeros_(model.classifier.out.weight)
        model.classifier.out.bias.data = torch.tensor([6.0, 2.0, 1.0]).log()
    save_directory(model, directory, card="Licence: none\n")


@pytest.fixture
def folder(tmp_path, tokenizer):
    """Three models, a language-ID model (en 2/3, es 2/9, de 1/9), and a file of each kind."""
    for code, sureness in SURENESS.items():
        write_model(tmp_path / f"models/{code}", tokenizer, (code,), sureness=sureness)
    write_model(tmp_path / "lid", tokenizer, ("en", "es", "de"), parts=PARTS)
    models = "models:\n" + "".join(f"  {code}: models/{code}\n" for code in SURENESS)
    (tmp_path / "score.yaml").write_text(models)
    (tmp_path / "lid.yaml").write_text(models + "language_id: lid\n")
    return tmp_path


@pytest.fixture
def loaded(monkeypatch):
    """Names of the models in the order of their loading, and the most that were alive at once."""
    seen = {"names": [], "most": 0}
    alive = weakref.WeakSet()

    def load(name, device, precision):
        gc.collect()
        model = load_network(name, device, precision)
        alive.add(model)
        seen["names"].append(Path(name).name)
        seen["most"] = max(seen["most"], len(alive))
        return model

    for module in (modelset, language_id):
        monkeypatch.setattr(module, "load_network", load)
    return seen


def test_the_surest_candidate_wins(folder, loaded):
    models = ModelSet(folder / "score.yaml", "cpu", max_loaded=3)
    result = models.transcribe(VIDEO, modality="audio")
    assert result.language == "fr"
    recording = read_recording(VIDEO, "audio")
    options = TranscribeOptions(modality="audio")
    alone = load_network(folder / "models/fr", "cpu")
    ((transcript, score),) = recognize_scored(alone, [recording], options)
    assert result.text == transcript.text
    assert list(result.language_probs) == ["fr", "es", "de"]
    assert sum(result.language_probs.values()) == pytest.approx(1.0)
    # The model for which all 20 tokens are alike gives each 1/20.
    ratio = result.language_probs["de"] / result.language_probs["fr"]
    assert ratio == pytest.approx(1 / 20 / math.exp(score), rel=1e-4)
    assert sorted(loaded["names"]) == ["de", "es", "fr"]
    models.transcribe(VIDEO, modality="audio")
    assert len(loaded["names"]) == 3


@pytest.mark.parametrize("most", [1, 2])
def test_memory_holds_no_more_models_than_allowed(folder, loaded, most):
    models = ModelSet(folder / "score.yaml", "cpu", max_loaded=most)
    for _ in range(2):
        assert models.transcribe(VIDEO, modality="audio").language == "fr"
    assert loaded["most"] == most
    assert len(loaded["names"]) == 3 + (3 - most)  # what stayed was not loaded again


def test_a_language_id_model_decides_among_named_languages(folder, loaded):
    models = ModelSet(folder / "lid.yaml", "cpu", max_loaded=1)
    result = models.transcribe(VIDEO, modality="audio", language="es,de,fr")
    assert result.language == "es"
    expected = {"es": 2 / 3, "de": 1 / 3, "fr": 0.0}
    assert result.language_probs == pytest.approx(expected, abs=1e-3)
    assert loaded["names"] == ["lid", "es"]
    assert loaded["most"] == 1
    with pytest.raises(LanguageError, match=r"English \(0\.67\): no model of this set speaks it"):
        models.transcribe(VIDEO, modality="audio")


def test_a_given_language_loads_its_model_only(folder, loaded):
    models = ModelSet(folder / "lid.yaml", "cpu")
    assert models.transcribe(VIDEO, modality="audio", language="de").language == "de"
    assert loaded["names"] == ["de"]
    with pytest.raises(LanguageError, match="unknown language 'it'"):
        models.transcribe(VIDEO, language="it")


def test_the_command_takes_the_file(folder, capsys):
    arguments = ["--model-set", str(folder / "lid.yaml"), "--max-loaded", "1", "--device", "cpu"]
    command = ["transcribe", "--json", "--modality", "audio", *arguments]
    assert cli.main([*command, "--language", "de,es", str(VIDEO)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["file"] == str(VIDEO)
    assert result["language"] == "es"
    assert cli.main(["transcribe", *arguments, "--model", "tiny", str(VIDEO)]) == 2
    assert "exclude each other" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "kind", "complaint"),
    [
        ("models: {}", ConfigError, "models must name a model for each language"),
        ("models: [a]", ConfigError, "models must name a model for each language"),
        ("models: {no: a}", ConfigError, "'False' is no ISO 639-1 code"),
        ("models: {es: 3}", ConfigError, "the name of a model must be a text"),
        ("modles: {es: a}", ConfigError, "unknown key 'modles'; did you mean 'models'"),
        ("models: {es: nowhere}", ModelError, "no model '.*nowhere'"),
        ("models: {es: models/de}", ModelError, "the model for es, models/de, is for de"),
        ("models: {fr: models/fr}\nlanguage_id: lid", ModelError, "knows none of fr"),
        ("models: {fr: models/fr}\nlanguage_id: models/fr", ModelError, "no language classifier"),
    ],
)
def test_a_wrong_file_is_one_line(folder, text, kind, complaint):
    (folder / "wrong.yaml").write_text(text)
    with pytest.raises(kind, match=complaint) as error:
        ModelSet(folder / "wrong.yaml", "cpu").transcribe(VIDEO, modality="audio")
    assert isinstance(error.value, AvsrError)
    assert "\n" not in str(error.value)


def test_no_room_for_a_model_is_refused(folder):
    with pytest.raises(ConfigError, match="max_loaded must be 1 or more"):
        ModelSet(folder / "score.yaml", max_loaded=0)


@pytest.fixture
def write_ecapa_set(folder, speechbrain):
    """Write a set whose ECAPA says the same of every sound."""

    def write(**probs):
        labels = [f"{code}: name" for code in probs]
        sizes = {"filters": 60}
        speechbrain.write(folder / "source", labels, probs=probs.values(), **sizes)
        import_model(folder / "source", folder / "ecapa")
        models = "models:\n" + "".join(f"  {code}: models/{code}\n" for code in SURENESS)
        (folder / "ecapa.yaml").write_text(models + "language_id: ecapa\n")
        return folder / "ecapa.yaml"

    return write


def test_the_language_of_a_language_id_model_is_written(write_ecapa_set, folder):
    file = write_ecapa_set(ja=0.05, fr=0.8995, de=0.05, iw=0.0005)
    result = ModelSet(file, "cpu").transcribe(VIDEO, modality="audio")
    alone = ModelSet(file, "cpu").transcribe(VIDEO, modality="audio", language="fr")
    assert (result.language, result.text) == ("fr", alone.text)
    assert result.language_probs == pytest.approx({"fr": 0.8995, "ja": 0.05, "de": 0.05}, abs=1e-3)
    assert "he" not in result.language_probs  # too unlikely to be shown


@pytest.mark.parametrize(
    ("probs", "complaint"),
    [
        (
            {"ja": 0.97, "fr": 0.02, "de": 0.01},
            "Japanese (0.97): no model of this set speaks it; --language forces one",
        ),
        (
            {"fr": 0.4, "de": 0.35, "ja": 0.25},
            "the language is not sure (French 0.40, German 0.35, Japanese 0.25), so nothing is "
            "written; --language forces one",
        ),
    ],
)
def test_a_language_that_no_model_speaks_is_named_and_nothing_is_invented(
    write_ecapa_set, loaded, capsys, tmp_path, probs, complaint
):
    file = write_ecapa_set(**probs)
    command = ["transcribe", "--modality", "audio", "--device", "cpu", "--model-set", str(file)]
    assert cli.main([*command, "-o", str(tmp_path / "out.txt"), str(VIDEO)]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[-1] == f"avsr: {VIDEO}: {complaint}"
    assert not (tmp_path / "out.txt").exists()
    assert loaded["names"] == []  # no model of a language
    assert cli.main([*command, "--language", "fr", str(VIDEO)]) == 0
    assert cli.main([*command, "--language", "de,fr", str(VIDEO)]) == 0
    assert loaded["names"] == ["fr", "fr"]


def test_other_files_go_on(write_ecapa_set, capsys, tmp_path):
    file = write_ecapa_set(fr=0.9, de=0.1)
    write_sound(tmp_path / "silent.wav", [np.resize(np.float32([0.001, -0.001]), 32_000)])
    command = ["transcribe", "--modality", "audio", "--device", "cpu", "--model-set", str(file)]
    assert cli.main([*command, str(tmp_path / "silent.wav"), str(VIDEO)]) == 0
    shown = capsys.readouterr()
    assert "no speech was found, so there are no words" in shown.err
    nothing, spoken = shown.out.splitlines()
    assert nothing.split() == [str(tmp_path / "silent.wav"), "unknown"]
    assert spoken.startswith(f"{VIDEO}  fr (0.90)")


def write_sound(path, parts):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((np.concatenate(parts) * 32767).astype("<i2").tobytes())


@pytest.fixture
def talk(tmp_path):
    """A sound file of three sentences, longer than one segment."""
    speech, pause = read_waveform(VIDEO), np.zeros(80_000, np.float32)
    write_sound(tmp_path / "talk.wav", [speech, pause, speech, pause, speech, pause])
    return tmp_path / "talk.wav"


@pytest.mark.parametrize("kind", ["ecapa", "lid", "score"])
def test_a_long_recording_is_cut_into_segments(write_ecapa_set, folder, talk, kind):
    write_ecapa_set(fr=0.9, de=0.1)
    models = ModelSet(folder / f"{kind}.yaml", "cpu", max_loaded=3)
    options = {"language": "de,es"} if kind == "lid" else {}
    result = models.transcribe(talk, **options)
    assert result.duration > 20
    assert len(result.segments) == 3
    expected = "es" if kind == "lid" else "fr"
    assert result.language == expected
    assert [segment.language for segment in result.segments] == [expected] * 3
    assert next(iter(result.language_probs)) == expected
    given = models.transcribe(talk, language=expected)
    assert given.text == result.text
    assert not any("longer than" in warning for warning in result.warnings)


def test_a_language_id_model_writes_no_text(write_ecapa_set, folder):
    write_ecapa_set(fr=0.9, de=0.1)
    (folder / "wrong.yaml").write_text("models: {fr: ecapa}")
    with pytest.raises(ModelError, match="is a language-ID model, which writes no text"):
        ModelSet(folder / "wrong.yaml", "cpu").transcribe(VIDEO, language="fr", modality="audio")


def test_public_sets_need_no_file():
    models = ModelSet("muavic", "cpu")
    assert models.settings.models["es"] == "muavic-es"
    assert models.languages == ("ar", "de", "el", "en", "es", "fr", "it", "pt", "ru")
    assert models.settings.language_id == "voxlingua107"


def test_names_in_the_file_are_folders_beside_it_or_names_of_models(folder):
    models = ModelSet(folder / "lid.yaml", "cpu")
    assert models._locate("lid") == folder / "lid"
    assert models._locate("models/none") == folder / "models/none"
    for name in ("tiny", "hf://me/model", "muavic-es"):
        assert models._locate(name) == name


@pytest.mark.parametrize(
    ("text", "language"),
    [("models: {es: nowhere}", "auto"), ("models: {de: models/de}\nlanguage_id: nowhere", "auto")],
)
def test_a_missing_model_is_known_before_any_file_is_read(folder, capsys, text, language):
    (folder / "wrong.yaml").write_text(text)
    arguments = ["--model-set", str(folder / "wrong.yaml"), "--language", language]
    assert cli.main(["transcribe", str(VIDEO), str(VIDEO), *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "nowhere" in err
