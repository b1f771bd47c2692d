# SPDX-License-Identifier: MIT
"""Reads patch sets and checkouts, plans and proves; it never writes into a checkout."""

import sys

if sys.argv[:1] == ["-m"]:  # Python is about to import what `-m` names
    from verify.interpreter import serve

    serve(sys.orig_argv)
