"""Networks: tensors in, tensors out; no files, no numpy, no printing."""
