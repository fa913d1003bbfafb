"""Strings for numbers, huge and deep values, and lone surrogates in settings ended as bugs.

Some only after all the work. Every value is now checked by type and bound before it, in one line.
"""

import copy
import dataclasses
import json
import math
import shutil
import time
from pathlib import Path

import pytest
import yaml

from avsr.cli import app as cli
from avsr.errors import AvsrError, ConfigError, ModelError
from avsr.evaluation.config import EvaluationConfig, read_evaluation_config
from avsr.interop import import_model
from avsr.language.ecapa import EcapaConfig
from avsr.model.config import PRESETS, ModelConfig
from avsr.model.directory import load_directory
from avsr.model.ecapa_directory import load_ecapa
from avsr.recognition.model_set import ModelSet
from avsr.search.options import SearchOptions
from avsr.settings import read_json, read_settings
from avsr.training.config import read_config

RECIPES = Path(__file__).parents[2] / "recipes"
TINY = Path(__file__).parents[2] / "avsr" / "assets" / "tiny"
ODD = (
    *(None, True, -1, 0, 0.5, 1e308, math.nan, math.inf, -math.inf, 10**9, 10**30, 10**400),
    *("", "abc", "1", "1e-4", "a\0b", "\ud800", "x" * 10_000),
    *([], [[]], [1, "a", None], {}, {"a": 1}, {1: 2}, {None: []}),
)


def nodes(tree, path=()):
    """Paths of all values in a tree."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in entries:
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from nodes(value, (*path, key))


def substitutions(tree):
    """Copies of a tree, each with one value replaced by an odd one."""
    for path in nodes(tree):
        for odd in ODD:
            changed = copy.deepcopy(tree)
            holder = changed
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = copy.deepcopy(odd)
            yield path, odd, changed


def check_all(tree, build):
    """Every substitution is read, or refused by one short line; return how many are refused."""
    refused = 0
    for path, odd, changed in substitutions(tree):
        try:
            build(changed)
        except AvsrError as error:
            message = str(error)
            assert len(message.splitlines()) == 1, (path, odd)
            assert len(message) < 1500, (path, odd)
            message.encode()
            refused += 1
    return refused


@pytest.fixture
def stub_yaml(monkeypatch):
    """`values` replaces what is read from a YAML file, since most odd values can stand in one."""

    def stub(module, read):
        def build(values):
            monkeypatch.setattr(f"{module}.read_settings", lambda _: values)
            return read(Path("recipe.yaml"))

        return build

    return stub


def test_a_recipe_of_training(stub_yaml):
    tree = yaml.safe_load((RECIPES / "synthetic" / "train.yaml").read_text())
    tree["stages"] = tree["stages"][:1]
    tree["corpora"] = tree["corpora"][:2]
    assert check_all(tree, stub_yaml("avsr.training.config", read_config)) > 400


def test_a_recipe_of_an_evaluation(stub_yaml):
    tree = json.loads(json.dumps(dataclasses.asdict(EvaluationConfig(manifest="m"))))
    assert check_all(tree, stub_yaml("avsr.evaluation.config", read_evaluation_config)) > 250


def test_a_set_of_models(stub_yaml):
    tree = {"models": {"de": "a", "en": "b"}, "language_id": "c"}
    assert check_all(tree, stub_yaml("avsr.recognition.model_set", ModelSet)) > 40


def test_the_config_of_a_model():
    tree = json.loads((TINY / "config.json").read_text())
    assert check_all(tree, ModelConfig.from_dict) > 400
    ecapa = EcapaConfig(labels=("de: German",), languages=("de",), sources={"a": "b"})
    tree = json.loads(json.dumps(dataclasses.asdict(ecapa)))
    assert check_all(tree, EcapaConfig.from_dict) > 200


def test_options_of_the_search():
    tree = dataclasses.asdict(SearchOptions())
    assert check_all(tree, lambda values: SearchOptions(**values)) > 200


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("learning_rate: abc", "stages[0]: learning_rate is 'abc', not a number"),
        ("learning_rate: 1e-4", "is '1e-4', not a number: in YAML it needs a point, as in 1.0e-4"),
        ("learning_rate: .nan", "learning_rate is nan, not finite"),
        ("balance: 1", "balance is 1, not true or false"),
        ("batch_frames: 1.5", "batch_frames is 1.5, not a whole number"),
        ("snr_db: [0]", "snr_db must be a list of 2 values, not [0]"),
        ("snr_db: 5", "snr_db must be a list, not 5"),
        ("modalities: {av: '1'}", "modalities.av is '1', not a number"),
        ("modalities: [av]", "modalities must be a mapping, not ['av']"),
        ("noises: {no: 1.0}", "a key of noises is False, not text: put it in quotes"),
        ("mask_probability: 2", "mask_probability is 2, it must be from 0 to 1"),
        ("balance: true\n    balance: false", "has 'balance' twice"),
    ],
)
def test_the_field_and_what_it_must_be_are_named(tmp_path, line, message):
    text = "out: o\ncorpora: [{path: c}]\nstages:\n  - name: a\n    updates: 1\n    "
    (tmp_path / "r.yaml").write_text(text + line + "\n")
    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path / "r.yaml")
    assert str(caught.value).startswith(f"{tmp_path / 'r.yaml'}")
    assert message in str(caught.value)


def test_all_mistakes_are_listed_at_once(tmp_path):
    text = "out: 3\nseed: x\ndevices: true\ncorpora: [{path: 1}]\nstages: 5\n"
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path / "r.yaml")
    for name in ("out is 3", "seed is 'x'", "devices is True", "corpora[0]: path is 1", "stages "):
        assert name in str(caught.value)


def laughs(end):
    """Lists of lists of lists, nine to the power of nine entries."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    return "\n".join([*lines, end])


def merges():
    """The same with merged mappings."""
    lines = ["a: &a {x: 1}"]
    for before, name in zip("abcdefghijk", "bcdefghijkl", strict=True):
        lines.append(f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 9)}]}}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        *("out: !!int x", "out: !!float [1]", "out: !!timestamp abc", "out: 2020-13-41"),
        *("out: !!bool abc", "out: !!int ''", "out: !!binary '*'", "out: !!python/name:os.system"),
        *("out: *missing", "? [1]\n: 2", "<<: 3", "\x00", "out: 'a\x00'", "a: b: c", "%TAG"),
        "out: " + "9" * 5000,
        "out: " + "[" * 1000,
        "out: " + "{a: " * 1000,
        laughs("languages: *i"),
        laughs("out: *i"),
        merges(),
        "out: \ud800".encode("utf-8", "surrogatepass"),
        "out: ä".encode("latin-1"),
        "out: a".encode("utf-16"),
        b"",
    ],
)
def test_strange_yaml_is_one_line(tmp_path, capsys, text):
    path = tmp_path / "r.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    start = time.process_time()
    for arguments in (["train"], ["evaluate"], ["transcribe", str(TINY / "x"), "--model-set"]):
        with pytest.raises(ConfigError) as caught:
            {
                "train": read_config,
                "evaluate": read_evaluation_config,
                "transcribe": ModelSet,
            }[arguments[0]](path)
        assert len(str(caught.value).splitlines()) == 1
        assert str(path) in str(caught.value)
    assert cli.main(["train", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert time.process_time() - start < 20  # a bomb would take hours


def test_files_that_are_no_settings_are_refused(tmp_path):
    for path in (Path("/dev/zero"), tmp_path, tmp_path / "none", tmp_path / ("x" * 300)):
        for read in (read_settings, read_json):
            with pytest.raises(ConfigError, match="cannot read"):
                read(path)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", '{"a": 1, "a": 2}', "[" * 100_000, '{"a": ' + "9" * 5000 + "}", '{"a": NaN'],
)
def test_strange_json_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_json(tmp_path / "config.json")
    assert len(str(caught.value).splitlines()) == 1


@pytest.fixture
def tiny(tmp_path):
    """A model directory whose files can be changed."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.model"):
        shutil.copy(TINY / name, folder)
    return folder


@pytest.mark.parametrize(
    ("section", "name", "value", "message"),
    [
        ("encoder", "layers", 10**9, "layers is 1000000000, it must be at most 1000"),
        ("encoder", "layers", 900, "layers is 900, but the weights' file has"),
        ("encoder", "ffn_dim", 60_000, "ffn_dim is 60000, but the weights' file has"),
        ("encoder", "prompts", 65_000, "prompts is 65000, but"),
        ("decoder", "dim", 65_536, "dim is 65536, but"),
        ("decoder", "layers", True, "layers is True, not a whole number"),
        (None, "vocabulary_size", 10**6, "the tokenizer has 200 tokens, config.json says 1000000"),
        (None, "segment_seconds", 1e9, "segment_seconds is 1000000000.0, it must be at most 600"),
        (None, "languages", ["de", "de"], "languages must be a list of different codes"),
        (None, "languages", ["../x"], "languages has '../x', which is no code"),
        (None, "format_version", "2", "format_version '2'"),
    ],
)
def test_sizes_are_held_against_the_weights(tiny, section, name, value, message):
    settings = json.loads((tiny / "config.json").read_text())
    (settings if section is None else settings[section])[name] = value
    (tiny / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError) as caught:
        load_directory(tiny)
    assert message in str(caught.value)


def test_sizes_of_a_language_model_are_held_against_the_weights(speechbrain, tmp_path):
    speechbrain.write(tmp_path / "source")
    import_model(tmp_path / "source", tmp_path / "lid")
    settings = json.loads((tmp_path / "lid" / "config.json").read_text())
    for name, value in (("channels", 65_536), ("kernels", [5, 3, 3, 999]), ("hidden", 60_000)):
        (tmp_path / "lid" / "config.json").write_text(json.dumps(settings | {name: value}))
        with pytest.raises(ModelError, match=f"{name} is .*, but the weights' file has"):
            load_ecapa(tmp_path / "lid")


def test_a_layer_of_a_huge_number_is_one_line(faults_dir, tmp_path, capsys):
    command = ["import", str(faults_dir / "layers9.pt"), str(tmp_path / "out")]
    assert cli.main([*command, "--encoder-heads", "1"]) == 2
    assert "layers9.pt is refused: its weight" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_presets_are_valid():
    for preset in PRESETS.values():
        assert ModelConfig.from_dict(json.loads(json.dumps(dataclasses.asdict(preset)))) == preset


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--beam-size", value] for value in ("0", "abc", "1e3", "9" * 30, "10000", "nan")),
        *(["--ctc-weight", value] for value in ("nan", "inf", "-inf", "2", "1e999", "")),
        *(["--lm-weight", value] for value in ("nan", "inf", "-1", "1e300")),
        *(["--face", value] for value in ("0", "-1", "1.5", "9" * 5000, "²", "")),
        *(["--device", value] for value in ("meta", "", "cuda:99", "abc")),
    ],
)
def test_odd_values_on_the_command_line_are_one_line(capsys, arguments):
    path = Path(__file__).parents[2] / "demo" / "examples" / "de.mp4"
    assert cli.main(["transcribe", str(path), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "unexpected" not in error
