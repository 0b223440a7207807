"""Frozen weights: a folder with manifest.json and one safetensors file, checked before use.

The manifest names the architecture, its sizes, the tensor file and its sha256, and says how the
weights were made. Nothing here runs code from a file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from crowdfm_core.errors import WeightsError
from crowdfm_core.models import ARCHITECTURES, ModelConfig, architecture_of
from crowdfm_core.models.attention import AttentionConfig
from crowdfm_core.models.unrolled_config import UnrolledConfig
from crowdfm_core.read_outs import (
    CALIBRATION_FEATURES,
    CALIBRATION_HEAD,
    PREFIX,
    head_shapes,
    pair_head_shapes,
)

__all__ = [
    "FrozenWeights",
    "from_published_layout",
    "load_weights",
    "save_weights",
    "shipped_weights_path",
]

FloatArray = npt.NDArray[np.floating[Any]]
_MANIFEST = "manifest.json"
_TENSORS = "weights.safetensors"
_SHIPPED = ("default", "fast", "attention")


@dataclass(frozen=True)
class FrozenWeights:
    """Tensors named as in the configuration's `tensor_shapes`, and where they come from.

    heads: tensors of the read-outs (crowdfm_core/read_outs.py) of ability and difficulty, on
    embeddings of the configuration's `embedding_widths`, of compatibility, and of calibration; or
    empty.
    """

    config: ModelConfig
    tensors: Mapping[str, FloatArray]
    heads: Mapping[str, FloatArray] = field(default_factory=dict)
    sha256: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)


def shipped_weights_path(name: str = "default") -> Path:
    """Return the folder of shipped weights, in a checkout and in an installed wheel alike."""
    return Path(__file__).resolve().parent.parent / "weights" / name


def save_weights(folder: Path, weights: FrozenWeights) -> Path:
    """Write tensors and manifest to `folder`; returns the manifest's path."""
    _check_tensors(weights.config, {**weights.tensors, **weights.heads}, where=str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    everything = {**weights.tensors, **weights.heads}
    # safetensors writes the memory of an array as it lies, a transposed one in the wrong order.
    contiguous = {name: np.ascontiguousarray(t, np.float32) for name, t in everything.items()}
    data = save(contiguous)
    (folder / _TENSORS).write_bytes(data)
    manifest = {
        "architecture": architecture_of(weights.config),
        "config": asdict(weights.config),
        "file": _TENSORS,
        "sha256": hashlib.sha256(data).hexdigest(),
        "recipe": dict(weights.recipe),
    }
    path = folder / _MANIFEST
    path.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return path


def load_weights(path: str | Path = "default") -> FrozenWeights:
    """Load frozen weights: a folder, or the name of shipped ones (`default`, `fast`,
    `attention`).

    Raises WeightsError when a file is missing or truncated, the sha256 differs, or tensors do not
    have the names and shapes that the manifest's configuration asks for.
    """
    folder = shipped_weights_path(str(path)) if str(path) in _SHIPPED else Path(path)
    manifest = _read_manifest(folder / _MANIFEST)
    file = folder / str(manifest["file"])
    try:
        data = file.read_bytes()
    except OSError as error:
        raise WeightsError(f"{file}: cannot be read ({error}); the manifest names it") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != manifest["sha256"]:
        raise WeightsError(
            f"{file}: expected sha256 {manifest['sha256']}, got {digest} ({len(data)} bytes); "
            "the file is truncated or was replaced: fetch it again or export the weights again"
        )
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise WeightsError(f"{file}: not a safetensors file ({error})") from error
    try:
        config = ARCHITECTURES[manifest["architecture"]](**manifest["config"])
    except TypeError as error:
        raise WeightsError(
            f"{folder / _MANIFEST}: config is not one of {manifest['architecture']}: {error}"
        ) from error
    _check_tensors(config, tensors, where=str(file))
    heads = {name: tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}
    return FrozenWeights(
        config=config,
        tensors={name: tensor for name, tensor in tensors.items() if name not in heads},
        heads=heads,
        sha256=digest,
        recipe=manifest.get("recipe", {}),
    )


def from_published_layout(state: Mapping[str, FloatArray], *, heads: int = 4) -> FrozenWeights:
    """Convert the tensors of the published checkpoint (name -> array) to this layout.

    The number of layers and the width are read from the tensors; `heads` cannot be. Read the
    file with `torch.load(path, weights_only=True)` first. Raises WeightsError on missing,
    unexpected or misshapen tensors.
    """
    numbers = [int(found[1]) for name in state if (found := re.match(r".*q_task\.(\d+)\.", name))]
    if not numbers or "encoder.x_worker" not in state:
        raise WeightsError(
            "expected the published layout (encoder.x_worker, encoder.q_task.0.weight, ...), "
            f"got {sorted(state)[:5]}"
        )
    layers = max(numbers) + 1
    names: dict[str, str | list[str]] = {
        "initial.worker": "encoder.x_worker",
        "initial.task": "encoder.x_task",
        "norm.scale": "encoder.layer_norm.weight",
        "norm.shift": "encoder.layer_norm.bias",
        # The published code spells it so.
        "classifier.hidden.weight": "task_option_classifactor.0.weight",
        "classifier.hidden.bias": "task_option_classifactor.0.bias",
        "classifier.output.weight": "task_option_classifactor.2.weight",
        "classifier.output.bias": "task_option_classifactor.2.bias",
    }
    published = {"query": "q", "key": "k", "value": "v", "output": "out"}
    for side in ("worker", "task"):
        for name, short in published.items():
            for part in ("weight", "bias"):
                names[f"{side}.{name}.{part}"] = [
                    f"encoder.{short}_{side}.{layer}.{part}" for layer in range(layers)
                ]
    wanted = {name for value in names.values() for name in _listed(value)}
    if wanted != set(state):
        raise WeightsError(
            f"published layout: missing {sorted(wanted - set(state))[:5]}, "
            f"unexpected {sorted(set(state) - wanted)[:5]}"
        )
    tensors = {
        name: np.stack([state[part] for part in value]) if isinstance(value, list) else state[value]
        for name, value in names.items()
    }
    tensors["classifier.output.weight"] = tensors["classifier.output.weight"].reshape(-1)
    width = int(tensors["initial.worker"].shape[0])
    config = AttentionConfig(width=width, layers=layers, heads=heads, output_bias="per_annotation")
    _check_tensors(config, tensors, where="published layout")
    digest = hashlib.sha256(
        b"".join(np.ascontiguousarray(tensors[name]).tobytes() for name in sorted(tensors))
    ).hexdigest()
    return FrozenWeights(config=config, tensors=tensors, sha256=digest)


def _listed(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot be read ({error}); expected a folder of frozen weights"
        ) from error
    except ValueError as error:
        raise WeightsError(f"{path}: not JSON ({error})") from error
    missing = {"architecture", "config", "file", "sha256"} - set(manifest)
    if missing:
        raise WeightsError(f"{path}: missing keys {sorted(missing)}")
    if manifest["architecture"] not in ARCHITECTURES:
        raise WeightsError(
            f"{path}: expected an architecture of {', '.join(ARCHITECTURES)}, "
            f"got {manifest['architecture']!r}"
        )
    return dict(manifest)


def _check_tensors(config: ModelConfig, tensors: Mapping[str, FloatArray], *, where: str) -> None:
    wanted = config.tensor_shapes()
    for head, width in config.embedding_widths().items():
        wanted |= head_shapes(tensors, head, width=width)
    wanted |= pair_head_shapes(tensors, config.embedding_widths())
    if isinstance(config, UnrolledConfig):  # the only one that is calibrated
        wanted |= head_shapes(tensors, CALIBRATION_HEAD, width=CALIBRATION_FEATURES)
    problems = [f"missing {name}" for name in sorted(set(wanted) - set(tensors))]
    problems += [f"unexpected {name}" for name in sorted(set(tensors) - set(wanted))]
    problems += [
        f"{name}: expected shape {wanted[name]}, got {tuple(tensors[name].shape)}"
        for name in sorted(set(wanted) & set(tensors))
        if tuple(tensors[name].shape) != wanted[name]
    ]
    if problems:
        raise WeightsError(f"{where}: tensors do not fit the configuration: {'; '.join(problems)}")
