import pytest

from avsr.errors import ConfigError
from avsr.evaluation.config import read_evaluation_config


def write(path, text):
    path.write_text(text)
    return path


def test_a_grid_has_every_cell_once(tmp_path):
    path = write(
        tmp_path / "evaluate.yaml",
        "manifest: m.jsonl\nlanguage_modes: [auto, given]\nsnr_db: [clean, -5, 0]\n",
    )
    cells = [
        (modality, mode, None if noise is None else noise.snr_db)
        for modality, mode, noise in read_evaluation_config(path).cells()
    ]
    assert len(cells) == len(set(cells)) == 14
    assert ("av", "given", -5.0) in cells
    assert ("av", "auto", None) in cells
    assert [c for c in cells if c[0] == "video"] == [("video", m, None) for m in ("auto", "given")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("manifest: m\nsnr_dB: [0]\n", "unknown key 'snr_dB'; did you mean 'snr_db'"),
        ("manifest: m\nsnr_db: [low]\n", "numbers and 'clean'"),
        ("manifest: m\nsnr_db: 0\n", "snr_db must be a list"),
        ("manifest: m\nmodalities: [both]\n", "of av, audio, video"),
        ("manifest: m\nlanguage_modes: []\n", "of auto, given"),
        ("snr_db: [0]\n", "manifest"),
        ("- 1\n", "must be a mapping"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read_evaluation_config(write(tmp_path / "evaluate.yaml", text))
