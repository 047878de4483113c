"""``python -m heredity`` is the command ``heredity``."""

import sys

from heredity.cli.main import main

sys.exit(main())
