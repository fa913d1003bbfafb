"""Each search for faces once left its mesh in memory, 2.5 MB that nothing could free.

mediapipe's graph held the mesh, by the function that it calls, and the mesh held the graph.
"""

import gc
import weakref

from avsr.face import MediapipeDetector


def test_a_closed_detector_leaves_no_mesh() -> None:
    MediapipeDetector().close()  # the first import of mediapipe keeps hold of whoever asks for it
    with MediapipeDetector() as detector:
        mesh = weakref.ref(detector._mesh_alone)
    del detector
    gc.collect()
    assert mesh() is None
