"""An evaluation in the caller's process gives back the number of threads that it found."""

from pathlib import Path

import torch

from avsr.corpus import Record, write_manifest
from avsr.evaluation import EvaluationConfig, evaluate

CLIP = Path(__file__).parents[2] / "demo" / "examples" / "de.mp4"


def test_threads(tmp_path):
    torch.set_num_threads(1)
    record = Record(
        utterance_id="u1", media=str(CLIP), text="seine", language="de", split="test", speaker="s"
    )
    write_manifest(tmp_path / "m.jsonl", [record])
    config = EvaluationConfig(
        manifest=str(tmp_path / "m.jsonl"),
        out=str(tmp_path / "runs"),
        modalities=("audio",),
        snr_db=("clean",),
    )
    evaluate(config, device="cpu")
    assert torch.get_num_threads() == 1
