import pytest

from avsr.errors import ConfigError
from avsr.evaluation import EvaluationConfig, read_evaluation_config


def write(path, text):
    path.write_text(text)
    return path


def test_a_grid_has_every_condition_once(tmp_path):
    path = write(
        tmp_path / "evaluate.yaml",
        "manifest: m.jsonl\nlanguage_modes: [auto, given]\nsnr_db: [clean, -5, 0]\n",
    )
    conditions = list(read_evaluation_config(path).conditions())
    names = [condition.name for condition in conditions]
    assert len(names) == len(set(names)) == 14
    assert "av-babble-5dB-given" in names
    assert "av-clean-auto" in names
    assert [n for n in names if n.startswith("video")] == ["video-clean-auto", "video-clean-given"]


def test_the_default_grid_is_the_protocols():
    names = [condition.name for condition in EvaluationConfig(manifest="m.jsonl").conditions()]
    noises = ["clean", "babble-10dB", "babble-5dB", "babble+0dB", "babble+5dB", "babble+10dB"]
    assert names == [
        *(f"av-{n}-auto" for n in noises),
        *(f"audio-{n}-auto" for n in noises),
        "video-clean-auto",
    ]


def test_video_corruptions_apply_where_they_change_the_input():
    config = EvaluationConfig(
        manifest="m.jsonl", snr_db=("clean",), video_corruptions=("clean", "blur:2.0", "offset:80")
    )
    assert [condition.name for condition in config.conditions()] == [
        "av-clean-auto",
        "av-clean-blur2-auto",
        "av-clean-offset80-auto",
        "audio-clean-auto",
        "video-clean-auto",
        "video-clean-blur2-auto",
    ]


def test_kinds_of_noise_that_are_paths_give_file_names():
    config = EvaluationConfig(manifest="m", noises=("data/a pub.wav",), modalities=("audio",))
    assert [c.name for c in config.conditions()][1] == "audio-data_a_pub.wav-10dB-auto"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("manifest: m\nsnr_dB: [0]\n", "unknown key 'snr_dB'; did you mean 'snr_db'"),
        ("manifest: m\npictures: [clean]\n", "key 'pictures'; did you mean 'video_corruptions'"),
        ("manifest: m\nsnr_db: [low]\n", "numbers and 'clean'"),
        ("manifest: m\nsnr_db: 0\n", "snr_db must be a list"),
        ("manifest: m\nmodalities: [both]\n", "of av, audio, video"),
        ("manifest: m\nlanguage_modes: []\n", "of auto, given"),
        ("manifest: m\nnoises: []\n", "noises is empty"),
        ("manifest: m\nsnr_over: words\n", "clip or speech"),
        ("manifest: m\npaper: other\n", "paper must be muavic"),
        ("manifest: m\nlimit: 0\n", "1 or more"),
        ("manifest: m\nvideo_corruptions: [fog]\n", "the kinds are"),
        ("manifest: m\nmodalities: [audio]\nvideo_corruptions: ['blur:1']\n", "no condition"),
        ("snr_db: [0]\n", "manifest"),
        ("- 1\n", "must be a mapping"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read_evaluation_config(write(tmp_path / "evaluate.yaml", text))
