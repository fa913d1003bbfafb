"""``python -m avsr`` is the command line."""

import sys

from avsr.cli import main

sys.exit(main())
