"""Time our reading of a Vision Transformer's file, and putting it into weights that are there.

python benchmarks/vit_load_ours.py FOLDER
"""

import json
import sys
import time

import jax
import numpy as np

from heredity import __version__
from heredity.common.reading import sha256_file
from heredity.networks import Vit, VitOptions, read_vit
from heredity.spaces import Box
from vit_load import SIDE, measured

folder = sys.argv[1]
options = VitOptions(hidden=(), **read_vit(folder).options)
network = Vit(options, Box((SIDE, SIDE, 3), 0, 255, "uint8"), None)
shapes = jax.eval_shape(network.init, jax.random.key(0))
# Written, so that their memory is there before the clock runs.
params = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)


def load():
    filled, report = read_vit(folder).inject(params)
    report.require(1.0)
    return filled


found = measured(f"heredity {__version__}", load)
path = read_vit(folder).path
began = time.perf_counter()
sha256_file(path)
found["hash_seconds"] = time.perf_counter() - began  # of those: what nobody else computes
print(json.dumps(found))
