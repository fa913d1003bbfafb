"""Training objectives: the task class for each value of ``objective`` in a recipe's stage.

A new objective is one file with a subclass of StageTask, which computes its loss, and one line
here.
"""

from pathlib import Path

from avsr.errors import ConfigError
from avsr.training.config import TrainConfig, read_config
from avsr.training.recognition_task import RecognitionTask
from avsr.training.stage_task import StageTask

OBJECTIVES: dict[str, type[StageTask]] = {
    "recognition": RecognitionTask,
}


def read_recipe(path: Path) -> TrainConfig:
    """Read the ``train.yaml`` of a recipe, objectives checked.

    Raises:
        ConfigError: As read_config, or a stage names an objective that does not exist.
    """
    config = read_config(path)
    for stage in config.stages:
        if stage.objective not in OBJECTIVES:
            known = ", ".join(OBJECTIVES)
            raise ConfigError(f"{path}: stage {stage.name}: objective must be one of {known}")
    return config
