"""Names that are too long, and files that cannot be read, are one line with their name."""

from pathlib import Path

import pytest

from avsr.cli.app import main
from avsr.errors import ConfigError, ModelError
from avsr.evaluation import NoiseLibrary
from avsr.runtime.file_digest import digest_file

LONG = "ü" * 200  # 400 bytes; a name may have 255
MEMORY = Path("/proc/self/mem")  # a file by its kind, but its beginning is an error to read
linux = pytest.mark.skipif(not MEMORY.exists(), reason="Linux has a file that cannot be read")


@linux
@pytest.mark.parametrize("error_class", [ConfigError, ModelError])
def test_a_file_without_a_digest(error_class):
    with pytest.raises(error_class, match=r"^/proc/self/mem: cannot be read \(Input/output error"):
        digest_file(MEMORY, error_class)


@linux
def test_noise_without_a_digest():
    library = NoiseLibrary([str(MEMORY)])
    with pytest.raises(ConfigError, match=r"^/proc/self/mem: cannot be read"):
        _ = library.manifest


@pytest.mark.parametrize("command", [["compare", LONG, LONG], ["validate", LONG]])
def test_long_names(command, capsys):
    assert main(command) == 2
    line = capsys.readouterr().err.strip()
    assert line.startswith("avsr: ")
    assert line.endswith("File name too long")
    assert line.count("\n") == line.count("unexpected") == 0
