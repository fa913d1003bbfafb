"""Short names of public models, and the list of all models."""

import subprocess
import sys

import pytest

from avsr.cli import app as cli
from avsr.errors import ModelError
from avsr.hub import (
    PUBLIC_MODELS,
    fetch,
    find_model,
    find_public,
    is_name,
    list_models,
    load_network,
)
from avsr.languages import MUAVIC_LANGUAGES, is_language_code

MUAVIC = [f"muavic-{code}" for code in (*MUAVIC_LANGUAGES, "multilingual")]


def test_the_table_is_sound():
    assert [m.name for m in PUBLIC_MODELS] == [*MUAVIC, "voxlingua107"]
    for model in PUBLIC_MODELS:
        assert all(is_language_code(code) for code in model.languages)
        assert len(set(model.languages)) == len(model.languages)
        assert find_public(model.name) == find_public(f"hf://{model.repository}") == model
    assert find_public("muavic-multilingual").languages == tuple(
        code for code in MUAVIC_LANGUAGES if code != "en"
    )
    assert len(find_public("voxlingua107").languages) == 107
    assert "non-commercial" in find_public("muavic-es").licence


def test_names_are_told_from_paths():
    assert all(is_name(name) for name in ("tiny", "muavic-es", "voxlingua107", "hf://me/own"))
    assert not any(is_name(name) for name in ("./tiny", "models/muavic-es", "muavic-xx"))


def test_a_short_name_is_downloaded(hub):
    hub.add_port("nguyenvulebinh/AV-HuBERT-MuAViC-es")
    reports = []
    fetch("muavic-es", lambda *report: reports.append(report))
    assert reports[-1][2] == "muavic-es"
    model = load_network("muavic-es", "cpu")
    assert model.config.languages == ("es",)
    rows = {model.name: model for model in list_models()}
    assert rows["muavic-es"].is_here
    assert not rows["muavic-fr"].is_here


@pytest.mark.parametrize(
    ("name", "hint"), [("muavic-ex", "did you mean 'muavic-e"), ("whisper", "use the path of")]
)
def test_an_unknown_name_is_one_line(name, hint, capsys):
    with pytest.raises(ModelError, match=hint) as caught:
        find_model(name)
    assert all(known in str(caught.value) for known in ("tiny", *MUAVIC, "voxlingua107"))
    assert cli.main(["export", name, "out"]) == 2
    error = capsys.readouterr().err
    assert error == f"avsr: {caught.value}\n"


def test_the_bundled_model_needs_no_hub():
    code = "import sys; from avsr.hub import load_network; load_network(); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"huggingface_hub", "avsr.interop"} & set(run.stdout.split())


def test_a_model_that_names_languages_only_writes_no_text(hub):
    with pytest.raises(ModelError, match="voxlingua107 names languages and writes no text"):
        load_network("voxlingua107")
    assert hub.requests == []


def test_models_are_listed_without_a_network(hub, offline, capsys):
    hub.add_own()
    hub.add_own("me/part")
    fetch("hf://me/own")
    hub.cuts = [0] * 10
    with pytest.raises(ModelError):
        fetch("hf://me/part")
    offline()
    hub.requests.clear()
    assert cli.main(["models"]) == 0
    assert hub.requests == []
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split("  ")[0]: " ".join(line.split()) for line in lines}
    assert "bundled" in rows["tiny"]
    assert "Apache-2.0" in rows["tiny"]
    assert rows["muavic-es"] == (
        "muavic-es 1.55 GB to download es CC BY-NC 4.0 and AV-HuBERT's terms: "
        "non-commercial use only"
    )
    assert " 1.92 GB to download en " in rows["muavic-en"]
    assert " ar de el es fr it pt ru " in rows["muavic-multilingual"]
    assert rows["voxlingua107"] == (
        "voxlingua107 85 MB to download 107 languages (names them only) Apache-2.0"
    )
    assert rows["hf://me/own"].startswith("hf://me/own here, ")
    assert " de en cc-by-nc-4.0 (non-commercial use only)" in rows["hf://me/own"]
    assert "hf://me/part" not in rows
    large = rows["AV-HuBERT Large, fine-tuned (.pt), 477 M weights"]
    assert " import with avsr import en " in large
