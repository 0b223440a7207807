"""Builds typed, frozen dataclasses from plain YAML values and names every problem at once."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import yaml

from crowdfm_core.errors import ConfigError

__all__ = ["build", "checked_value", "plain_values", "read_mapping"]

_T = TypeVar("_T")


def read_mapping(path: Path, problems: list[str], overrides: Sequence[str] = ()) -> Any:
    """Read plain values from a YAML file and apply `--set key.sub=value` overrides (YAML, too).

    What is wrong with an override is added to `problems`; raises ConfigError where the file cannot
    be read.
    """
    try:
        mapping = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError([f"cannot be read as YAML: {error}"], where=str(path)) from error
    for override in overrides:
        _apply(override, mapping, problems)
    return mapping


def _apply(override: str, mapping: Any, problems: list[str]) -> None:
    key, equals, text = override.partition("=")
    *parents, last = key.split(".")
    if not equals or not all((*parents, last)):
        problems.append(f"--set {override}: expected key.sub=value")
        return
    for parent in parents:
        if not isinstance(mapping, dict):
            break
        mapping = mapping.setdefault(parent, {})
    if not isinstance(mapping, dict):
        problems.append(f"--set {override}: {'.'.join(parents) or 'file'} is not a mapping")
        return
    try:
        mapping[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        problems.append(f"--set {override}: the value is not YAML: {error}")


def build(cls: type[_T], mapping: Any, path: str, problems: list[str]) -> _T | None:
    """Build a dataclass; what is wrong is added to `problems`, each with its dotted path.

    A dataclass with a classmethod `from_mapping(mapping, path, problems)` builds itself; one whose
    `__post_init__` raises ConfigError has its problems added under its path.
    """
    at = f"{path}." if path else ""
    before = len(problems)
    if not isinstance(mapping, Mapping):
        problems.append(f"{path or 'file'}: expected a mapping, got {mapping!r}")
        return None
    own = getattr(cls, "from_mapping", None)
    if own is not None:
        return cast(_T | None, own(mapping, path, problems))
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    for key in mapping:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            problems.append(f"{at}{key}: unknown key{hint}; known are {', '.join(known)}")
    values = {}
    for name, spec in known.items():
        if name in mapping:
            values[name] = checked_value(hints[name], mapping[name], f"{at}{name}", problems)
        elif spec.default is spec.default_factory:  # both are dataclasses.MISSING
            problems.append(f"{at}{name}: missing")
    if len(problems) > before:
        return None
    try:
        return cls(**values)
    except ConfigError as error:
        problems.extend(f"{at}{problem}" for problem in error.problems)
        return None


def checked_value(hint: Any, value: Any, path: str, problems: list[str]) -> Any:
    """Check `value` against a type hint; an int is accepted as a float, a bool never as either."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if is_dataclass(hint):
        return build(typing.cast("type[Any]", hint), value, path, problems)
    if origin is Literal:
        if value in arguments:
            return value
    elif origin is tuple:
        variadic = len(arguments) == 2 and arguments[1] is Ellipsis
        if isinstance(value, (list, tuple)) and (variadic or len(value) == len(arguments)):
            inner = [arguments[0]] * len(value) if variadic else list(arguments)
            return tuple(
                checked_value(kind, part, f"{path}[{i}]", problems)
                for i, (kind, part) in enumerate(zip(inner, value, strict=True))
            )
    elif origin is dict:
        if isinstance(value, Mapping):
            return {
                str(key): checked_value(arguments[1], part, f"{path}.{key}", problems)
                for key, part in value.items()
            }
    elif origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return checked_value(arguments[0], value, path, problems)
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif isinstance(value, hint) and not (isinstance(value, bool) and hint not in (bool, object)):
        return value
    expected = " | ".join(map(str, arguments)) if origin is Literal else None
    expected = expected or ("mapping" if origin is dict else getattr(hint, "__name__", str(hint)))
    problems.append(f"{path}: expected {expected}, got {value!r}")
    return None


def plain_values(value: Any) -> Any:
    """Turn tuples into lists, as YAML and JSON have them."""
    if isinstance(value, Mapping):
        return {key: plain_values(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_values(part) for part in value]
    return value
