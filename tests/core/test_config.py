"""Configuration: what is accepted, and that every problem is named at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from crowdfm_core.config import load_config
from crowdfm_core.errors import ConfigError
from crowdfm_core.methods.registry import METHODS

MINIMAL = "input: {path: in}\noutput: {path: out}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "job.yaml"
    path.write_text(text)
    return path


def test_minimal_file_takes_the_defaults(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL))
    assert config.input.format == "delta"
    assert config.methods == ("crowdfm", "majority_vote")
    assert config.spark.gpu is None


def test_overrides_are_yaml_and_reach_nested_keys(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    config = load_config(path, ["model.num_draws=1", "spark.conf={a.b: c}", "input.format=csv"])
    assert (config.model.num_draws, config.input.format) == (1, "csv")
    assert config.spark.conf == {"a.b": "c"}
    assert config.sha256() != load_config(path).sha256()


def test_every_registered_method_can_be_chosen(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    for method in ("crowdfm", *METHODS):
        assert load_config(path, [f"methods=[{method}]"]).methods == (method,)
    with pytest.raises(ConfigError, match=r"methods: expected distinct .*wawa.*em"):
        load_config(path, ["methods=[wawa, em]"])


def test_engine_of_a_method_that_sql_does_not_have_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    assert load_config(path, ["engines={wawa: sql, pm: arrays}"]).engines["wawa"] == "sql"
    with pytest.raises(ConfigError, match=r"engines: expected some of dawid_skene, .* got ebcc"):
        load_config(path, ["engines={wawa: sql, ebcc: sql}"])
    with pytest.raises(ConfigError, match=r"engines.wawa: expected arrays \| sql, got 'spark'"):
        load_config(path, ["engines={wawa: spark}"])


def test_assignments_need_crowdfm_and_sensible_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "assignments: {workers_per_task: 5}\n")
    rule = load_config(path).assignments
    assert rule is not None
    assert (rule.workers_per_task, rule.max_probability) == (5, 0.8)
    with pytest.raises(ConfigError, match="assignments: expected crowdfm among methods"):
        load_config(path, ["methods=[wawa]"])
    with pytest.raises(ConfigError) as refused:
        load_config(path, ["assignments={workers_per_task: 0, max_probability: 80}"])
    assert "workers_per_task: expected 1 to 20, got 0" in str(refused.value)
    assert "max_probability: expected 0 to 1, got 80" in str(refused.value)


def test_share_of_gold_that_is_held_out_is_a_share(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "gold: {path: gold, held_out: 0.5}\n")
    assert load_config(path).gold is not None
    with pytest.raises(ConfigError, match=r"held_out: expected 0 to 1, got 1\.5"):
        load_config(path, ["gold.held_out=1.5"])


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    text = """
input: {path: in, table: t, formt: csv}
output: {path: out, max_probabilities: true}
duplicates: newest
modle: {weights: x}
scoring: {device: tpu}
spark: {conf: {a: 1}, gpu: {amount_per_task: 0.7}}
"""
    with pytest.raises(ConfigError) as error:
        load_config(write(tmp_path, text), ["novalue"])
    for problem in (
        "--set novalue: expected key.sub=value",
        "input.formt: unknown key; did you mean 'format'?",
        "output.max_probabilities: expected int, got True",
        "duplicates: expected latest | first | reject, got 'newest'",
        "modle: unknown key; did you mean 'model'?",
        "scoring.device: expected auto | cpu | cuda, got 'tpu'",
        "spark.conf.a: expected str, got 1",
        "spark.gpu.amount_per_task: expected a whole number or a fraction in (0, 0.5], got 0.7",
    ):
        assert problem in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("input: {}\noutput: {path: out}", "input.expected exactly one of path and table"),
        ("input: {path: a, table: b}\noutput: {path: c}", r"got \['path', 'table'\]"),
        (MINIMAL + "methods: [crowdfm, em]", "methods: expected distinct ones of"),
        (MINIMAL + "model: {num_draws: 0}", "model.num_draws: expected 1 to 64, got 0"),
        ("input: {path: a, columns: {task_id: x, label: x}}\noutput: {path: c}", "x repeatedly"),
        ("- a list", "file: expected a mapping"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_file_that_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(tmp_path, text))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml")
