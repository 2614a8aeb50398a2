"""``python -m nearframe``."""

import sys

from nearframe.cli import main

sys.exit(main())
