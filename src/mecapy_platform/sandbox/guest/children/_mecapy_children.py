"""What every interpreter finds that a handler starts: the handler's package first, its environment last.

This folder covers the interpreter's own site-packages in a sandbox, so that its name, its real path, `-m`, `-c` and
`-I` all lead here. The environment stands behind the standard library, and its `.pth` files count.
"""

import os
import site
import sys

if os.path.isdir("/package"):
    sys.path.insert(0, "/package")
if os.path.isdir("/site-packages"):
    site.addsitedir("/site-packages")
