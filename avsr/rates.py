"""Rates and shapes that every stage shares. Each constant carries its unit and its derivation."""


def exact_div(numerator: int, denominator: int) -> int:
    """Divide two integers that must divide without remainder; raise ValueError otherwise."""
    quotient, remainder = divmod(numerator, denominator)
    if remainder:
        raise ValueError(f"{numerator} is not a multiple of {denominator}")
    return quotient


SAMPLE_RATE = 16_000  # Hz, mono
FPS = 25  # video frames a second; also the rate of the model's features
SAMPLES_PER_FRAME = exact_div(SAMPLE_RATE, FPS)  # 640 samples per 40 ms video frame

MAX_SEGMENT_SECONDS = 20.0  # s, longest segment: models are trained on no more (500 frames)

FBANK_RATE = 100  # Hz, filterbank frames a second
FBANK_HOP = exact_div(SAMPLE_RATE, FBANK_RATE)  # 160 samples (10 ms)
FBANK_WINDOW = 400  # samples (25 ms)
FBANK_BINS = 26  # mel bins per 10 ms
FBANK_STACK = exact_div(FBANK_RATE, FPS)  # 4 filterbank frames per video frame
FBANK_DIM = FBANK_BINS * FBANK_STACK  # 104 values per video frame

CANVAS_SIZE = 256  # px, the square on which the mean face lives
MOUTH_SIZE = 96  # px, side of the mouth crop that is cut and stored
CROP_SIZE = 88  # px, side of the crop that the model sees
PIXEL_MEAN = 0.421  # of grey mouth crops in [0, 1] (AV-HuBERT)
PIXEL_STD = 0.165
