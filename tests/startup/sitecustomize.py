# SPDX-License-Identifier: MIT
"""What every Python that the tests start does first: remember the source of each class it has looked up.

LeRobot's command line asks for the source of a configuration's class anew for each of its fields, to find the
field's comment: seconds for each of hundreds of processes.
"""

import functools
import inspect

inspect.getsource = functools.cache(inspect.getsource)
