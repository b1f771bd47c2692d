#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Adds reward prediction to a LeRobot checkout, installs it, and takes it out again.

Runs on a bare Python 3.10 or newer. `python install.py --help` lists the commands.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 (an older Python is to read this sentence, not a traceback)
    sys.exit("install.py: needs Python 3.10 or newer, this is %d.%d." % sys.version_info[:2])

from _rewact_installer.commands import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
