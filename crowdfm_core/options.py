"""Random option vectors, drawn so that the same option gets the same vector for ever.

The paper represents options by vectors from N(0, I). Here they are a pure function of (weights,
project, draw, option_index): not of the batch, the component, the executor or the library's
random generator version, so every partitioning and every retry gives the same labels.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import numpy.typing as npt

__all__ = ["option_vectors"]


def option_vectors(
    weights_sha256: str, project_id: str, draw: int, num_options: int, width: int
) -> npt.NDArray[np.float64]:
    """Return standard normal vectors [num_options, width] for the options of one project.

    Row i does not depend on `num_options`. Philox is counter-based and its raw output is fixed by
    its definition; the normals are made from it by the Box-Muller transform, because numpy's own
    normal sampler may change between versions.
    """
    identity = json.dumps([weights_sha256, project_id, draw])
    key = np.frombuffer(hashlib.sha256(identity.encode()).digest()[:16], np.uint64)
    half = (width + 1) // 2
    raw = np.random.Philox(key=key).random_raw(num_options * half * 2)
    # 53 random bits each, moved off zero so that the logarithm is finite.
    uniform = ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    radius, angle = uniform.reshape(num_options, 2, half).transpose(1, 0, 2)
    radius = np.sqrt(-2.0 * np.log(radius))
    angle = 2.0 * np.pi * angle
    vectors = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return np.ascontiguousarray(vectors[:, :width])
