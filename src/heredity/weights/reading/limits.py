"""How much a file of somebody else's may ask for, in one place."""

from __future__ import annotations

MOST_FILE = 16 * 2**30  # bytes of one file
MOST_PICKLE = 4 * 2**30  # bytes of a pickle with its arrays
MOST_STRUCTURE = 64 * 2**20  # bytes of what only describes arrays: the pickle in a torch file, JSON
MOST_ENTRIES = 100_000  # members of an archive, files of a folder, leaves of a tree
MOST_DEPTH = 64  # of nested dicts and lists
MOST_STEPS = 2_000_000  # instructions of a pickle; each may make an empty dict and remember it

# Numbers hardly compress; a member that grows more than this was made to fill memory. Deflate can
# reach 1,030; small members are let pass, since JSON of equal lines compresses well.
MOST_RATIO = 100
SMALL = 2**20  # bytes

# Tensors may share storages, and each becomes an array of its own later on: all values of a file
# together may have as many times its bytes, and `SMALL` more.
MOST_SHARING = 16
