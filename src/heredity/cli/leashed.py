"""``python -m heredity.cli.leashed``: the command, which ends with whoever started it.

Whoever starts it keeps the writing end of its standard input, and never writes. The pipe closes
when that process dies, whatever it dies of.
"""

from __future__ import annotations

import os
import sys
import threading

from heredity.cli.main import main

LOST = 4  # `LostProcessError.exit_code`


def _end_with_the_other_side() -> None:
    while os.read(0, 64):
        pass
    os._exit(LOST)


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_other_side, daemon=True).start()
    sys.exit(main())
