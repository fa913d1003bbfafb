"""One family of errors. Their message is one line for a person: what is wrong and what to do."""

import errno


class AvsrError(Exception):
    """An error that the caller can mend. The command line prints it without a traceback.

    Examples:
        >>> import avsr
        >>> try:
        ...     avsr.transcribe("missing.mp4")
        ... except avsr.AvsrError as error:
        ...     print(error)
        missing.mp4: no such file
    """


class MediaError(AvsrError):
    """A media file is missing, unreadable, or holds nothing that can be transcribed."""


class LanguageError(AvsrError):
    """A language code is not known, or no model of a set speaks the language of a recording."""


class ModelError(AvsrError):
    """A model directory is missing, incomplete, or does not fit its configuration."""


class ConfigError(AvsrError):
    """A configuration has unknown keys or values out of bounds."""


class CorpusError(AvsrError):
    """A manifest or shard is missing or broken."""


class UnknownKeyError(ConfigError):
    """A configuration has a key that this version does not know."""


class WriteError(AvsrError, OSError):
    """A file cannot be written: the disk is full, for example, or it may only be read."""

    def __str__(self) -> str:
        advice = ": free some space" if self.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return f"{self.filename}: cannot be written ({self.strerror}{advice})"
