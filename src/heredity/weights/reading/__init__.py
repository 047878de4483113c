"""Reading files of other libraries: what they hold, as arrays and plain values, running nothing."""

from heredity.weights.reading.orbax import read_orbax
from heredity.weights.reading.pickles import read_pickle
from heredity.weights.reading.torch_files import read_torch
from heredity.weights.reading.values import Record, arrays_by_path
from heredity.weights.reading.zips import SafeZip

__all__ = ["Record", "SafeZip", "arrays_by_path", "read_orbax", "read_pickle", "read_torch"]
