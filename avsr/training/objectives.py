"""Training objectives: the task class for each value of ``objective`` in a recipe's stage.

A new objective is one file with a subclass of StageTask, which computes its loss, and one line
here.
"""

from avsr.training.recognition_task import RecognitionTask
from avsr.training.stage_task import StageTask

OBJECTIVES: dict[str, type[StageTask]] = {
    "recognition": RecognitionTask,
}
