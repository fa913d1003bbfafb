"""Each search for faces once left its mesh in memory, 2.5 MB that nothing could free.

mediapipe's graph held the mesh, by the function that it calls, and the mesh held the graph.
"""

import gc
import weakref

from avsr.face import FaceDetector


def test_a_closed_finder_leaves_no_mesh() -> None:
    FaceDetector().close()  # the first import of mediapipe keeps hold of whoever asks for it
    with FaceDetector() as finder:
        mesh = weakref.ref(finder._alone)
    del finder
    gc.collect()
    assert mesh() is None
