"""What an evaluation feeds to a recogniser: sound and lips of records, noise mixed in."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np

from avsr.audio import make_babble, mix_at_snr
from avsr.corpus import Record, StoredSample, decode_audio, decode_mouth, open_shard
from avsr.errors import ConfigError, MediaError
from avsr.rates import FPS, SAMPLE_RATE

SHARD = ".tar"
BABBLE_TALKERS = 30  # as many as MuAViC's babble has


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Input of a recogniser; sound or lips may be missing, not both."""

    name: str
    waveform: np.ndarray | None
    """(S,) float32 in [-1, 1] at 16 kHz."""
    mouth: np.ndarray | None
    """(T, 96, 96) uint8 at 25 Hz."""
    language: str
    """Code of the language that the recogniser is told, or ``auto``."""

    @property
    def modality(self) -> str:
        """``av``, ``audio`` or ``video``: what there is."""
        if self.mouth is None:
            return "audio"
        return "video" if self.waveform is None else "av"


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Noise of a test; always the same for an utterance, whatever else is tested."""

    kind: str = "babble"
    """``babble``: the mean of 30 other utterances of the same manifest."""
    snr_db: float
    """Speech over noise in dB, by RMS over the clip; 0.0 is 0 dB."""

    def __post_init__(self) -> None:
        if self.kind != "babble":
            raise ConfigError(f"unknown noise '{self.kind}' (known: babble)")

    def rng(self, seed: int, utterance_id: str) -> np.random.Generator:
        """Random numbers that depend on the arguments and the noise, not on any order."""
        name = f"{seed}/{utterance_id}/{self.kind}/{self.snr_db:g}"
        digest = hashlib.sha256(name.encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "big"))


class ClipReader:
    """Reads the records of a manifest as clips; keeps sound in memory (16 bit), lips on disk."""

    def __init__(
        self,
        records: Sequence[Record],
        folder: str | os.PathLike[str],
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self.records = sorted(records, key=lambda record: record.utterance_id)
        self.folder = Path(folder)
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        self._sounds: dict[str, np.ndarray | None] = {}
        self._shards: dict[Path, dict[str, StoredSample]] = {}

    def media(self, record: Record) -> Path:
        """The media file of a record."""
        return self.folder / record.media

    def sound(self, record: Record) -> np.ndarray | None:
        """(S,) float32 of a record; None if its file has no sound. Raises MediaError."""
        from avsr import media

        if record.utterance_id not in self._sounds:
            path = self.media(record)
            samples = None
            if path.suffix == SHARD:
                samples = decode_audio(self._stored(record).audio)
            elif media.probe(path).has_audio:
                span = cut(media.read_waveform(path), record, SAMPLE_RATE)
                if len(span):
                    samples = np.round(span * 32768).clip(-32768, 32767).astype(np.int16)
            self._sounds[record.utterance_id] = samples
        samples = self._sounds[record.utterance_id]
        return None if samples is None else samples.astype(np.float32) / 32768

    def lips(self, record: Record) -> np.ndarray | None:
        """(T, 96, 96) uint8 of a record; None without picture or face. Raises MediaError."""
        path = self.media(record)
        if path.suffix == SHARD:
            encoded = self._stored(record).mouth
            return None if encoded is None else decode_mouth(encoded)
        if self.cache_dir is None:
            mouth, found = track(path)
        else:
            mouth, found = cached_track(path, self.cache_dir)
        if not cut(found, record, FPS).any():
            return None
        return cut(mouth, record, FPS)

    def _stored(self, record: Record) -> StoredSample:
        """A record that lies in a shard."""
        path = self.media(record)
        if path not in self._shards:
            self._shards[path] = {s.record.utterance_id: s for s in open_shard(path)}
        if record.utterance_id not in self._shards[path]:
            raise MediaError(f"{path}: does not hold {record.utterance_id}")
        return self._shards[path][record.utterance_id]

    def babble(self, record: Record, noise: Noise, seed: int, num_samples: int) -> np.ndarray:
        """Noise for a record, (num_samples,) float32, made of other utterances."""
        rng = noise.rng(seed, record.utterance_id)
        others = [r for r in self.records if r.utterance_id != record.utterance_id]
        chosen = rng.permutation(len(others))[:BABBLE_TALKERS]
        talkers = [self._talker(others[i]) for i in chosen]
        babble = make_babble(talkers, num_samples, rng)
        if not babble.any():
            raise ConfigError("babble needs other utterances with sound in the manifest")
        return babble

    def _talker(self, record: Record) -> np.ndarray:
        """Sound of a talker; silence, which takes no part in babble, if there is none."""
        try:
            waveform = self.sound(record)
        except MediaError:
            waveform = None
        return np.zeros(0, np.float32) if waveform is None else waveform

    def read(
        self,
        record: Record,
        *,
        modality: str,
        language: str,
        noise: Noise | None = None,
        seed: int = 0,
    ) -> Clip:
        """The clip of a record; raise MediaError if nothing of ``modality`` is there."""
        waveform = self.sound(record) if modality != "video" else None
        mouth = self.lips(record) if modality != "audio" else None
        if waveform is None and mouth is None:
            missing = {"av": "neither sound nor a face", "audio": "no sound", "video": "no face"}
            raise MediaError(f"{self.media(record)}: {missing[modality]}")
        if noise is not None and waveform is not None:
            babble = self.babble(record, noise, seed, len(waveform))
            waveform = mix_at_snr(waveform, babble, noise.snr_db)
        return Clip(name=record.utterance_id, waveform=waveform, mouth=mouth, language=language)


def cut(array: np.ndarray, record: Record, rate: int) -> np.ndarray:
    """The part of a file's samples or frames (N, ...), ``rate`` a second, that is the record."""
    end = len(array) if record.end == float("inf") else round(record.end * rate)
    return array[round(record.start * rate) : end]


def track(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mouth crops (T, 96, 96) of a file and whether a face was found (T,); T = 0 without video."""
    from avsr import face, media

    if not media.probe(path).has_video:
        return np.zeros((0, 96, 96), np.uint8), np.zeros(0, np.bool_)
    found = face.track_mouth(media.read_frames(path))
    return found.mouth, found.found


def cached_track(path: Path, cache_dir: Path) -> tuple[np.ndarray, np.ndarray]:
    """``track``, kept in a folder: anew when the file, or the code that crops, has changed."""
    stat = path.stat()
    identity = f"{path.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}\n{crop_version()}"
    kept = cache_dir / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.npz"
    if kept.is_file():
        with np.load(kept) as arrays:
            return arrays["mouth"], arrays["found"]
    mouth, found = track(path)
    cache_dir.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=cache_dir, suffix=".part", delete=False) as file:
        np.savez_compressed(file, mouth=mouth, found=found)
    os.replace(file.name, kept)
    return mouth, found


@cache
def crop_version() -> str:
    """Digest of everything that decides a crop: the stages' code and the detector's release."""
    digest = hashlib.sha256(metadata.version("mediapipe").encode())
    for stage in ("media", "face"):
        for source in sorted((Path(__file__).parents[1] / stage).glob("*.py")):
            digest.update(source.read_bytes())
    return digest.hexdigest()


def check_media(records: Sequence[Record], folder: Path) -> None:
    """Raise MediaError that names the first media file that is not there, and counts the rest."""
    missing = [r for r in records if not (folder / r.media).is_file()]
    if missing:
        raise MediaError(
            f"{len(missing)} of {len(records)} media files are missing, the first is "
            f"{folder / missing[0].media}"
        )
