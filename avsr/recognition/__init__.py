"""From a recording to a transcript: reading, segmentation, inference, language, lips."""
