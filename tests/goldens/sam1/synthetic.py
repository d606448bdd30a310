"""Reproducible synthetic weights for the SAM-1 family.

    manifest = json.load(open("manifests/sam_vit_b.json"))
    state = synthetic_state_dict(manifest)     # {name: np.ndarray}, manifest order

Every tensor is a pure function of its name and shape, so no weights have to be
stored. Only numpy and the standard library are used.

Drawing
    key = first 8 bytes of sha256(seed_name), little endian, as an integer
    n   = Generator(Philox(key=key)).standard_normal(shape, dtype=float32)
    seed_name is the tensor's own name with the exceptions of rule 0.
    Names that start with "mask_decoder." get the manifest's "salt" put in front
    (a short string per variant, chosen so that the masks are not degenerate).

Rules, first match wins ("last part" = text after the final dot)
    0  seed_name: for "...k_proj.weight" inside the mask decoder's transformer
       cross attentions (name contains ".cross_attn_" or ".final_attn_") the draw
       uses the name with k_proj replaced by q_proj: query and key projections are
       equal, so attention follows position and the masks depend on the prompt.
    1  num_batches_tracked                       0 (int64, shape ())
    2  running_mean                              0.1 n
    3  running_var                               1 + 0.1 |n|
    4  positional_encoding_gaussian_matrix       1.0 n
    5  pos_embed                                 0.1 n
    6  rel_pos_h, rel_pos_w                      0.1 n
    7  attention_biases                          0.5 n
    8  *.bias                                    0.1 n, except the output layers
       listed in OUTPUT_BIAS
    9  *.weight with one dimension (all norms)   1 + 0.1 n
   10  *.weight of embeddings (EMBEDDING)        scale given there, times n
   11  *.weight with two or more dimensions      n * gain / sqrt(fan_in)
         fan_in = product(shape[1:]); for transposed convolutions (TRANSPOSED)
         fan_in = shape[0] (kernel = stride = 2: each output sees shape[0] inputs)
         gain = 1 unless a pattern in GAIN matches the name.
         Transposed convolutions first replace n by
         0.1 n + 0.99 n[:, :, :1, :1], which keeps the masks from being pure noise.
   12  anything else                             0.1 n
All arithmetic is float32: n times float32(factor), then plus float32(offset).
"""

import hashlib
import math
import re

import numpy as np

EMBEDDING = (
    (r"^prompt_encoder\.no_mask_embed\.weight$", 0.1),
    (
        r"^prompt_encoder\.(point_embeddings|not_a_point_embed|invalid_points|bbox_\w+_embeddings)\b",
        0.5,
    ),
    (r"^mask_decoder\.(iou_token|mask_tokens|hf_token)\.weight$", 1.0),
)

TRANSPOSED = (
    r"^mask_decoder\.output_upscaling\.[03]\.weight$",
    r"^mask_decoder\.final_output_upscaling_layers\.\d+\.0\.weight$",
    r"^mask_decoder\.(compress_vit_feat|embedding_encoder)\.[03]\.weight$",
)

GAIN = (
    (r"^image_encoder\.(patch_embed|layers\.0|layers\.\d\.downsample)\..*\.c\.weight$", 1.35),
    (r"\.(cross_attn_token_to_image|final_attn_token_to_image)\.[qk]_proj\.weight$", 1.5),
    (r"\.cross_attn_image_to_token\.[qk]_proj\.weight$", 2.0),
    (r"\.cross_attn_image_to_token\.(v|out)_proj\.weight$", 1.5),
    (r"^mask_decoder\.output_hypernetworks_mlps\.\d+\.layers\.2\.weight$", 8.0),
    (r"^mask_decoder\.output_hypernetworks_mlps\.\d+\.fc\.weight$", 8.0),
    (r"^mask_decoder\.hf_mlp\.layers\.2\.weight$", 8.0),
    (r"^mask_decoder\.iou_prediction_head\.(layers\.2|fc)\.weight$", 0.5),
)

# pattern, factor, offset
OUTPUT_BIAS = ((r"^mask_decoder\.iou_prediction_head\.(layers\.2|fc)\.bias$", 0.1, 0.6),)


def _first(table, name):
    for row in table:
        if re.search(row[0], name):
            return row[1:]
    return None


def seed_name(name, salt=""):
    if name.startswith("mask_decoder."):
        name = salt + name
    if name.endswith("k_proj.weight") and (".cross_attn_" in name or ".final_attn_" in name):
        return name.replace("k_proj", "q_proj")
    return name


def draw(name, shape):
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    generator = np.random.Generator(np.random.Philox(key=key))
    return generator.standard_normal(tuple(shape), dtype=np.float32)


def affine(name, shape):
    """(factor, offset, absolute): tensor = offset + factor * (|n| or n)."""
    last = name.rsplit(".", 1)[-1]
    if last == "running_mean":
        return 0.1, 0.0, False
    if last == "running_var":
        return 0.1, 1.0, True
    if last == "positional_encoding_gaussian_matrix":
        return 1.0, 0.0, False
    if last in ("pos_embed", "rel_pos_h", "rel_pos_w"):
        return 0.1, 0.0, False
    if last == "attention_biases":
        return 0.5, 0.0, False
    if last == "bias":
        row = _first(OUTPUT_BIAS, name)
        return (*row, False) if row else (0.1, 0.0, False)
    if last == "weight" and len(shape) == 1:
        return 0.1, 1.0, False
    if last == "weight":
        row = _first(EMBEDDING, name)
        if row:
            return row[0], 0.0, False
        row = _first(GAIN, name)
        gain = row[0] if row else 1.0
        transposed = any(re.search(p, name) for p in TRANSPOSED)
        fan_in = shape[0] if transposed else math.prod(shape[1:])
        return gain / math.sqrt(fan_in), 0.0, False
    return 0.1, 0.0, False


def synthetic_tensor(name, shape, salt=""):
    if name.rsplit(".", 1)[-1] == "num_batches_tracked":
        return np.zeros((), dtype=np.int64)
    n = draw(seed_name(name, salt), shape)
    if any(re.search(p, name) for p in TRANSPOSED):
        n = np.float32(0.1) * n + np.float32(0.99) * n[:, :, :1, :1]
    factor, offset, absolute = affine(name, shape)
    if absolute:
        n = np.abs(n)
    n = n * np.float32(factor)
    if offset:
        n = n + np.float32(offset)
    return n


def synthetic_state_dict(manifest):
    """manifest["tensors"] is a list of {"name", "shape", "dtype"}."""
    salt = manifest.get("salt", "")
    return {t["name"]: synthetic_tensor(t["name"], t["shape"], salt) for t in manifest["tensors"]}
