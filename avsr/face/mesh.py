"""mediapipe's face mesh without its detector, to follow a face from frame to frame.

mediapipe's ready-made mesh first finds the face with a detector, which takes as long as the mesh
itself. The position of the face in the previous frame serves as well.
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

# A landmark as protobuf writes it: tag and length of the message, then x, y, z, each with a tag.
_VERTEX = np.dtype([("head", "V3"), ("x", "<f4"), ("-", "V1"), ("y", "<f4"), ("z", "V5")])


def read_vertices(landmarks: Any) -> NDArray[np.float64]:
    """Read x and y (N, 2), fractions of the image's sides, from mediapipe's list of landmarks."""
    message = landmarks.SerializeToString()  # 468 Python objects would take ten times as long
    if len(message) != len(landmarks.landmark) * _VERTEX.itemsize:
        return np.array([(point.x, point.y) for point in landmarks.landmark], np.float64)
    vertices = np.frombuffer(message, _VERTEX)
    return np.stack([vertices["x"], vertices["y"]], axis=1).astype(np.float64)


class Mesh:
    """Runs the mesh in the calling thread. A ``FaceMesh`` must have been made before it."""

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
        self._packet: Any = None
        self._graph.observe_output_stream("vertices", self._receive)
        self._graph.start_run()

    def _receive(self, stream: str, packet: Any) -> None:
        self._packet = packet

    def place(
        self, image: NDArray[np.uint8], center: NDArray[np.float64], side: float, angle: float
    ) -> NDArray[np.float64] | None:
        """Fit the mesh to a face whose position is known.

        Args:
            image: The image (H, H, 3) RGB.
            center: Centre (2,) of the square in which the face is expected, in fractions of H.
            side: Side of that square, in fractions of H.
            angle: Clockwise turn of that square, radians.

        Returns:
            The vertices (468, 2) in fractions of H; None if there is no face.
        """
        self._time += 1
        self._packet = None
        rect = self._rect(
            x_center=center[0], y_center=center[1], width=side, height=side, rotation=angle
        )
        picture = self._create.create_image_frame(image_format=self._format, data=image)
        self._graph.add_packet_to_input_stream("image", picture.at(self._time))
        self._graph.add_packet_to_input_stream(
            "place", self._create.create_proto(rect).at(self._time)
        )
        self._graph.wait_until_idle()
        return None if self._packet is None else read_vertices(self._read(self._packet))

    def close(self) -> None:
        """Free the graph."""
        self._graph.close()
        del self._graph  # it refers to this object by _receive: neither would ever be freed
