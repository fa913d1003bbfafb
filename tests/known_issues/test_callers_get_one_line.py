"""Odd arguments of Python callers ended in foreign exceptions, and so did their torch defaults."""

import io
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import avsr
from avsr.errors import AvsrError, ConfigError, MediaError, ModelError
from avsr.interop import import_model
from avsr.media import read_waveform
from avsr.recognition.options import TranscribeOptions

VIDEO = Path(__file__).parents[2] / "demo" / "examples" / "de.mp4"
TEXT = "seine der wir der am"
TONE = np.sin(np.arange(8000) / 5).astype(np.float32) / 4


class Custom(os.PathLike):
    def __fspath__(self):
        return str(VIDEO)


@pytest.mark.parametrize("path", [os.fsencode(VIDEO), Custom(), VIDEO, str(VIDEO)])
def test_paths_of_all_kinds_are_read(model, path):
    assert next(iter(avsr.detect_language(path, model=model, modality="audio"))) == "de"
    result = model.transcribe(path, modality="audio", language=None)
    assert result.language == "de"
    assert result.file == str(VIDEO)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (io.BytesIO(b"abc"), "write it to a file and give the path"),
        (5, "the path of a media file is needed, not 5"),
        (None, "the path of a media file is needed, not None"),
        (TONE, "arrays are for Recognizer.transcribe_arrays"),
        ([VIDEO], "the path of a media file is needed"),
        ("", "'' is no path of a media file"),
        ("a\0b", "is no path of a media file"),
        (b"\xff\xfe", "no such file"),
        ("x" * 300, "x: "),
        ("/dev/null", "/dev/null"),
    ],
)
def test_what_is_no_path_is_refused(model, path, message):
    for call in (avsr.transcribe, avsr.detect_language):
        with pytest.raises(MediaError) as caught:
            call(path, model=model)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_open_file_is_refused(model):
    with VIDEO.open("rb") as file, pytest.raises(MediaError, match="give the path of that file"):
        model.transcribe(file)


def test_the_number_of_a_face_may_be_an_int(model):
    result = model.transcribe(VIDEO, face=1, language="de")
    assert result.modality == "av"
    assert result.text == TEXT
    assert TranscribeOptions(face=np.int64(2)).face == "2"


def test_numbers_of_numpy_are_options(model):
    options = {"beam_size": np.int32(2), "ctc_weight": np.float32(0.3), "lm_weight": np.float64(0)}
    assert model.transcribe(VIDEO, modality="audio", **options).language == "de"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"language": 5}, "language is 5, not text"),
        ({"language": ""}, "unknown language"),
        ({"language": "de\ud800"}, "no valid Unicode"),
        ({"language": ["de", "en"]}, "language is ['de', 'en'], not text"),
        ({"face": 0}, "face '0' must be"),
        ({"face": -1}, "face '-1' must be"),
        ({"face": True}, "face is True, not text"),
        ({"face": 1.0}, "face is 1.0, not text"),
        ({"face": None}, "face is None, not text"),
        ({"face": "9" * 5000}, "longer than"),
        ({"modality": None}, "modality must be one of av, audio, video, not None"),
        ({"modality": ["av"]}, "modality must be one of av, audio, video, not ['av']"),
        ({"beam_size": "5"}, "beam_size is '5', not a whole number"),
        ({"beam_size": 2.5}, "beam_size is 2.5, not a whole number"),
        ({"beam_size": True}, "beam_size is True, not a whole number"),
        ({"beam_size": 10**400}, "too large a number"),
        ({"beam_size": 10**9}, "beam_size is 1000000000, it must be at most 1000"),
        ({"ctc_weight": float("nan")}, "ctc_weight is nan, not finite"),
        ({"ctc_weight": None}, "ctc_weight is None, not a number"),
        ({"lm_weight": float("inf")}, "lm_weight is inf, not finite"),
        ({"lm_weight": np.array([0.4, 0.5])}, "lm_weight is array"),
        ({"sync": "no"}, "sync is 'no', not true or false"),
        ({"mouth": 1}, "mouth is 1, not true or false"),
        ({"languge": "de"}, "unknown key 'languge'; did you mean 'language'?"),
        ({"progress": 5}, "progress must be a function"),
    ],
)
def test_odd_options_are_refused(model, options, message):
    with pytest.raises(AvsrError) as caught:
        avsr.transcribe(VIDEO, model=model, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": 5}, "must be text or a path, not 5"),
        ({"name": torch.nn.Linear(2, 2)}, "must be text or a path"),
        ({"name": "x" * 5000}, "no model"),
        ({"name": "a\0b"}, "no model"),
        ({"device": None}, "device None is not available"),
        ({"device": 10**30}, "is not available here"),
        ({"device": "meta"}, "device 'meta' is not available here"),
        ({"device": "cpu", "precision": None}, "precision None is not one of"),
        ({"device": "cpu", "precision": ["fp32"]}, "is not one of"),
    ],
)
def test_odd_models_are_refused(arguments, message):
    with pytest.raises(ModelError) as caught:
        avsr.load_model(**arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("waveform", "mouth"),
    [
        (None, None),
        ((TONE * 32767).astype(np.int16), None),
        (np.stack([TONE, TONE]), None),
        (np.full(8000, np.nan), None),
        (np.full(8000, 1e300), None),
        (np.zeros(0, np.float32), None),
        (TONE.astype(complex), None),
        ("abc", None),
        ([[1.0], [2.0, 3.0]], None),
        (5.0, None),
        (None, np.zeros((5, 96, 96), np.float32)),
        (None, np.zeros((5, 88, 88), np.uint8)),
        (None, np.zeros((0, 96, 96), np.uint8)),
        (None, np.zeros((5, 96, 96, 3), np.uint8)),
    ],
)
def test_odd_arrays_are_refused(model, waveform, mouth):
    with pytest.raises(MediaError) as caught:
        model.transcribe_arrays(waveform, mouth)
    assert "\n" not in str(caught.value)


def test_arrays_of_all_kinds_give_the_same(model):
    expected = model.transcribe_arrays(TONE, None).text
    for sound in (TONE.astype(np.float64), torch.from_numpy(TONE), TONE.repeat(2)[::2]):
        assert model.transcribe_arrays(sound, None).text == expected
    with pytest.raises(ConfigError, match="did you mean 'language'"):
        model.transcribe_arrays(TONE, None, lang="de")


@pytest.fixture(scope="module")
def arrays(model):
    """Sound and lips of a second."""
    track = model.transcribe(VIDEO, language="de").mouth
    return read_waveform(VIDEO)[:16_000], track.mouth[:25]


def read(precision, arrays):
    result = avsr.load_model(None, "cpu", precision).transcribe_arrays(*arrays)
    return result.text, result.language_probs, result.words, result.evidence


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_callers_torch_changes_nothing(precision, arrays):
    expected = read(precision, arrays)
    try:
        torch.set_default_dtype(torch.float64)
        assert read(precision, arrays) == expected
        torch.set_default_dtype(torch.bfloat16)
        assert read(precision, arrays) == expected
        torch.set_default_dtype(torch.float32)
        torch.set_default_device("meta")
        assert read(precision, arrays) == expected
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


def test_modes_and_threads_of_the_caller_change_nothing(arrays):
    expected = read("fp32", arrays)
    with torch.inference_mode():
        assert read("fp32", arrays) == expected
    with torch.enable_grad():
        assert read("fp32", arrays) == expected
    results = []
    thread = threading.Thread(target=lambda: results.append(read("fp32", arrays)))
    thread.start()
    thread.join()
    assert results == [expected]


def test_a_language_model_does_not_mind_the_callers_torch(speechbrain, tmp_path):
    speechbrain.write(tmp_path / "source")
    import_model(tmp_path / "source", tmp_path / "lid")
    expected = avsr.detect_language(VIDEO, model=tmp_path / "lid")
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        assert avsr.detect_language(VIDEO, model=tmp_path / "lid") == expected
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
