"""When a component is cut, and into how many parts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdfm_core.blocks.plan import plan_cut
from crowdfm_core.candidates import ComponentSizes
from crowdfm_core.errors import MemoryBudgetError
from crowdfm_core.memory import bytes_of_sizes
from crowdfm_core.models.attention import AttentionConfig
from crowdfm_core.models.unrolled_config import UnrolledConfig

GIB = 2**30
CONFIG = UnrolledConfig()


def test_a_component_within_both_limits_stays_whole() -> None:
    senti = ComponentSizes(569_375, 98_980, 1_960, 5)
    assert plan_cut(CONFIG, senti, max_annotations=600_000, max_bytes=GIB) is None


@pytest.mark.parametrize("config", [CONFIG, AttentionConfig()])
def test_annotations_decide_the_blocks_where_memory_does_not(
    config: UnrolledConfig | AttentionConfig,
) -> None:
    senti = ComponentSizes(569_375, 98_980, 1_960, 5)
    cut = plan_cut(config, senti, max_annotations=100_000, max_bytes=16 * GIB)
    assert cut is not None
    assert (cut.blocks, cut.shards) == (6, 1)


def test_memory_decides_where_annotations_do_not() -> None:
    """Two hundred thousand workers with ten options need some 8 GiB at once."""
    wide = ComponentSizes(1_000_000, 300_000, 200_000, 10)
    assert bytes_of_sizes(CONFIG, wide) > 8 * GIB
    cut = plan_cut(CONFIG, wide, max_annotations=4_000_000, max_bytes=2 * GIB)
    assert cut is not None
    block = ComponentSizes(1_000_000 // cut.blocks, 300_000 // cut.blocks, 200_000, 10)
    assert bytes_of_sizes(CONFIG, block, as_block=True) < GIB  # half of the limit
    assert cut.shards == 20  # of ten million rows


def test_blocks_are_smaller_where_they_have_to_know_all_workers() -> None:
    many = ComponentSizes(30_000_000, 6_000_000, 1_000_000, 4)
    plain, assigning = (
        plan_cut(CONFIG, many, max_annotations=4_000_000, max_bytes=4 * GIB, assigns=assigns)
        for assigns in (False, True)
    )
    assert plain is not None
    assert assigning is not None
    assert assigning.blocks > plain.blocks
    with pytest.raises(MemoryBudgetError, match="max_model_gib"):
        plan_cut(CONFIG, many, max_annotations=4_000_000, max_bytes=GIB // 2, assigns=True)
    assert plan_cut(CONFIG, many, max_annotations=4_000_000, max_bytes=GIB // 2) is not None


def test_blocks_that_cannot_be_small_enough_are_refused() -> None:
    senti = ComponentSizes(569_375, 98_980, 1_960, 5)
    with pytest.raises(
        MemoryBudgetError, match=r"569375 annotations .* in 4096 blocks.*max_model_gib"
    ):
        plan_cut(CONFIG, senti, max_annotations=1000, max_bytes=10_000)


def test_what_a_shard_receives_is_bounded_too() -> None:
    """Every one of 250 blocks meets all 20,000 workers: a shard's inbox, not its rows, is large."""
    busy = ComponentSizes(1_000_000_000, 200_000_000, 20_000, 4)
    cut = plan_cut(CONFIG, busy, max_annotations=4_000_000, max_bytes=16 * GIB)
    assert cut is not None
    assert cut.blocks == 250
    assert cut.shards == 20  # of 250 times 320,000 rows, four million each


def test_shards_take_turns_with_as_many_blocks() -> None:
    """Two shards would do for 800,000 rows, and leave six cores of eight idle in their turn."""
    busy = ComponentSizes(30_000_000, 6_000_000, 50_000, 4)
    cut = plan_cut(CONFIG, busy, max_annotations=4_000_000, max_bytes=16 * GIB)
    assert cut is not None
    assert (cut.blocks, cut.shards) == (8, 8)


@given(
    annotations=st.integers(1, 10**9),
    per_task=st.integers(1, 200),
    workers=st.integers(1, 10**6),
    options=st.integers(2, 5000),
    max_annotations=st.integers(1, 10**7),
)
def test_a_block_has_about_as_many_annotations_as_are_allowed(
    annotations: int, per_task: int, workers: int, options: int, max_annotations: int
) -> None:
    sizes = ComponentSizes(annotations, max(1, annotations // per_task), workers, options)
    cut = plan_cut(CONFIG, sizes, max_annotations=max_annotations, max_bytes=16 * GIB)
    if cut is None:
        assert annotations <= max_annotations
        assert bytes_of_sizes(CONFIG, sizes) <= 16 * GIB
    else:
        assert 2 <= cut.blocks <= 4096
        assert cut.blocks == 4096 or annotations <= cut.blocks * max_annotations
        assert 1 <= cut.shards <= 4096
