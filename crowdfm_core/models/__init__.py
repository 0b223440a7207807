"""Architectures of frozen models; a manifest and a recipe name one of ARCHITECTURES."""

from crowdfm_core.models.attention import AttentionConfig
from crowdfm_core.models.unrolled import UnrolledConfig

__all__ = ["ARCHITECTURES", "ModelConfig", "architecture_of"]

ModelConfig = AttentionConfig | UnrolledConfig

ARCHITECTURES: dict[str, type[ModelConfig]] = {
    "attention": AttentionConfig,
    "unrolled": UnrolledConfig,
}


def architecture_of(config: ModelConfig) -> str:
    """Return the name that manifests and recipes have for this kind of model."""
    return next(name for name, kind in ARCHITECTURES.items() if isinstance(config, kind))
