"""``python -m jensenbench``."""

import sys

from jensenbench.cli import main

sys.exit(main())
