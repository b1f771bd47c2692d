# SPDX-License-Identifier: MIT
"""What a step costs with the head, in operations of stock's: `python -m verify.bench.speed --repeats 0`."""

import sys

from .speed import main

if __name__ == "__main__":
    sys.argv[1:1] = ["--repeats", "0"]
    main()
