import os
import signal

import pytest

from avsr.runtime.interrupts import defer_sigint

pytestmark = pytest.mark.usefixtures("ctrl_c")


def test_ctrl_c_waits_for_the_end_of_the_block():
    done = []
    with pytest.raises(KeyboardInterrupt), defer_sigint():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        done.append("the rest of the block")
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_ctrl_c_nothing_happens():
    with defer_sigint():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
