"""Time our reading of a Vision Transformer's file, and putting it into weights that are there.

python benchmarks/vit_load_ours.py FOLDER
"""

import json
import sys
import time

import jax
import numpy as np

from heredity import __version__
from heredity.networks import Vit, VitOptions, read_vit
from heredity.spaces import Box
from heredity.weights import inject
from vit_load import SIDE, measured

folder = sys.argv[1]
options = VitOptions(hidden=(), **read_vit(folder).options)
network = Vit(options, Box((SIDE, SIDE, 3), 0, 255, "uint8"), None)
shapes = jax.eval_shape(network.init, jax.random.key(0))
# Written, so that their memory is there before the clock runs.
params = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)


def load():
    file = read_vit(folder)
    filled, report = inject(params, file.tensors, file.rules(), into="encoder", donate=True)
    report.require(1.0)
    return filled


found = measured(f"heredity {__version__}", load)
began = time.perf_counter()
read_vit(folder).inject(params, donate=True)  # which also says the SHA-256 of the file
found["hashed_seconds"] = time.perf_counter() - began
print(json.dumps(found))
