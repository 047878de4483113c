"""Let torch save tensors of every kind that state dicts have, and write down what is in them.

Run as ``python benchmarks/conformance/foreign_torch.py FOLDER``; see README.md beside it.
"""

from __future__ import annotations

import collections
import sys
from pathlib import Path

import numpy as np
import torch
from foreign_common import write_versions


def main(folder: Path) -> None:
    write_versions(folder, "torch", "torch", "numpy")
    whole = torch.arange(24, dtype=torch.float32)
    shared = whole.reshape(4, 6)
    value = collections.OrderedDict(
        transposed=shared.t(),
        part=shared[1:3, 2:5],
        steps=whole[3::4],
        whole=whole,
        parameter=torch.nn.Parameter(torch.tensor([[1.5, -2.0]])),
        scalar=torch.tensor(7, dtype=torch.int64),
        empty=torch.zeros(0, 3),
        flags=torch.tensor([True, False, True]),
        half=torch.tensor([0.1, 65504.0], dtype=torch.float16),
        bfloat16=torch.tensor([0.1, -3e38], dtype=torch.bfloat16),
        double=torch.tensor([1 / 3], dtype=torch.float64),
        bytes=torch.tensor([0, 255], dtype=torch.uint8),
        short=torch.tensor([-300], dtype=torch.int16),
    )
    target = folder / "torch_values"
    target.mkdir(parents=True, exist_ok=True)
    torch.save({"state": value, "list": [value["whole"], 3, "text", None]}, target / "model.pt")
    torch.save(value, target / "legacy.pt", _use_new_zipfile_serialization=False)
    arrays = {name: tensor.detach().float().numpy() for name, tensor in value.items()}
    arrays["double"] = value["double"].numpy()
    np.savez_compressed(target / "expected.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
