"""On CUDA, scores are those of the CPU; `make test-gpu`."""

from __future__ import annotations

import numpy as np
import pytest

from crowdfm_core.backends.torch_backend import cuda_is_available
from crowdfm_core.scoring import Scorer
from crowdfm_core.weights import load_weights
from tests.bench.crowds import Sizes, draw_crowd, several_projects

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not cuda_is_available(), reason="needs a GPU that torch can use"),
]


@pytest.mark.parametrize("weights", ["default", "attention"])
def test_scores_on_cuda_equal_those_on_the_cpu(weights: str) -> None:
    sizes = Sizes(annotations=3_000, workers=40, tasks=500, options=4)
    many_options = Sizes(annotations=900, workers=20, tasks=150, options=30)
    batch = several_projects([draw_crowd(sizes, seed=1), draw_crowd(many_options, seed=2)])
    on_gpu, on_cpu = (
        Scorer(load_weights(weights), device=device, num_draws=2).score(batch)
        for device in ("cuda:0", "cpu")
    )
    np.testing.assert_allclose(on_gpu.probability, on_cpu.probability, atol=1e-4)
    np.testing.assert_allclose(on_gpu.expected_accuracy, on_cpu.expected_accuracy, atol=1e-4)
    clear = on_cpu.probability - on_cpu.runner_up_probability > 1e-3
    np.testing.assert_array_equal(on_gpu.label_index[clear], on_cpu.label_index[clear])
