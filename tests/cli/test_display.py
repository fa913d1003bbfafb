"""What the commands show while they work."""

import io
import sys

from avsr.cli.display import show_status
from avsr.runtime.progress import download_listener, format_bytes


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_status_line_shows_a_download(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with show_status("loading the model"):
        download_listener()(0, 10_000_000, "muavic-es")
        download_listener()(10_000_000, 10_000_000, "muavic-es")
    assert "downloading muavic-es: 10 MB of 10 MB, 0:00 left" in sys.stderr.getvalue()
    assert download_listener() is None


def test_sizes_are_short():
    sizes = (1_549_310_528, 85_250_000, 999_999, 400)
    assert [format_bytes(size) for size in sizes] == ["1.55 GB", "85 MB", "1000 kB", "0 kB"]
