"""Time torch's `load_state_dict` of a Vision Transformer's file, into a module that is there.

The module has parameters of the names and shapes in the file, and computes nothing.

    python benchmarks/vit_load_torch.py FOLDER
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from vit_load import measured

file = Path(sys.argv[1]) / "model.safetensors"


def module_of(shapes):
    """Modules within modules, as the dots in the names say."""
    root = torch.nn.Module()
    for name, shape in shapes.items():
        *parents, leaf = name.split(".")
        place = root
        for parent in parents:
            if parent not in place._modules:
                place.add_module(parent, torch.nn.Module())
            place = place._modules[parent]
        place.register_parameter(leaf, torch.nn.Parameter(torch.ones(shape)))
    return root


module = module_of({name: array.shape for name, array in load_file(file).items()})


def load():
    module.load_state_dict(load_file(file), strict=True)


def assign():
    """The tensors of the mapped file take the place of the parameters: read when first used."""
    module.load_state_dict(load_file(file), strict=True, assign=True)


found = measured(f"torch {torch.__version__.partition('+')[0]}", load)
found["assigned_seconds"] = measured("", assign)["seconds"]
print(json.dumps(found))
