"""The face mesh alone, in a place that is known: what follows a face from frame to frame.

mediapipe's ready-made mesh looks for the face with a detector first, which takes as long as the
mesh itself. Where the face was a frame ago says as much.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_GRAPH = """
input_stream: "image"
input_stream: "place"
output_stream: "vertices"
executor { type: "ApplicationThreadExecutor" }
node {
  calculator: "FaceLandmarkCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:place"
  output_stream: "LANDMARKS:vertices"
}
"""

# A landmark as protobuf writes it: tag and length of the message, then x, y, z, each after a tag.
_VERTEX = np.dtype([("head", "V3"), ("x", "<f4"), ("-", "V1"), ("y", "<f4"), ("z", "V5")])


def read_vertices(landmarks: Any) -> NDArray[np.float64]:
    """The x and y (N, 2) of mediapipe's list of landmarks, as parts of the picture's sides."""
    written = landmarks.SerializeToString()  # 468 Python objects would take ten times as long
    if len(written) != len(landmarks.landmark) * _VERTEX.itemsize:
        return np.array([(point.x, point.y) for point in landmarks.landmark], np.float64)
    vertices = np.frombuffer(written, _VERTEX)
    return np.stack([vertices["x"], vertices["y"]], axis=1).astype(np.float64)


class Mesh:
    """Runs the mesh in the thread that asks; a ``FaceMesh`` must have been made before it."""

    def __init__(self) -> None:
        from google.protobuf import text_format
        from mediapipe.framework import calculator_pb2
        from mediapipe.framework.formats.rect_pb2 import NormalizedRect
        from mediapipe.python import ImageFormat, packet_creator, packet_getter
        from mediapipe.python._framework_bindings import calculator_graph

        self._rect, self._format = NormalizedRect, ImageFormat.SRGB
        self._create, self._read = packet_creator, packet_getter.get_proto
        config = calculator_pb2.CalculatorGraphConfig()
        text_format.Parse(_GRAPH, config)
        self._graph = calculator_graph.CalculatorGraph(graph_config=config)
        self._time = 0
        self._found: Any = None
        self._graph.observe_output_stream("vertices", self._keep)
        self._graph.start_run()

    def _keep(self, stream: str, packet: Any) -> None:
        self._found = packet

    def place(
        self, image: NDArray[np.uint8], center: NDArray[np.float64], side: float, angle: float
    ) -> NDArray[np.float64] | None:
        """The mesh's vertices (468, 2) in ``image`` (H, H, 3), parts of its side; None: no face.

        The face is expected in the square of ``side`` around ``center`` (2,), both parts of the
        picture's side, turned clockwise by ``angle`` (radians).
        """
        self._time += 1
        self._found = None
        rect = self._rect(
            x_center=center[0], y_center=center[1], width=side, height=side, rotation=angle
        )
        picture = self._create.create_image_frame(image_format=self._format, data=image)
        self._graph.add_packet_to_input_stream("image", picture.at(self._time))
        self._graph.add_packet_to_input_stream(
            "place", self._create.create_proto(rect).at(self._time)
        )
        self._graph.wait_until_idle()
        return None if self._found is None else read_vertices(self._read(self._found))

    def close(self) -> None:
        """Free the graph."""
        self._graph.close()
        del self._graph  # it has hold of this object, by _keep, and would stay for ever
