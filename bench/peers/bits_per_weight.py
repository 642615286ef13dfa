#!/usr/bin/env python3
"""Bits that a GGUF file takes for each weight of its matrices.

    bits_per_weight.py MODEL.gguf
"""
import sys

import gguf

matrices = [tensor for tensor in gguf.GGUFReader(sys.argv[1]).tensors if len(tensor.shape) == 2]
print(8 * sum(tensor.n_bytes for tensor in matrices) / sum(int(tensor.n_elements) for tensor in matrices))
