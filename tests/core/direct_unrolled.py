"""The unrolled model written out with dictionaries and loops: a second route, for small graphs.

States are keyed by (task, option) and by (worker, answer, truth), where the truth of a tied
project is "same" or "other". One component, float64.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np

from crowdfm_core.models.unrolled import UnrolledConfig

__all__ = ["direct_unrolled"]

Vector = Any


def direct_unrolled(
    config: UnrolledConfig,
    tensors: dict[str, np.ndarray],
    annotations: list[tuple[int, int, int]],
    *,
    num_options: int,
    tied: bool,
) -> dict[tuple[int, int], float]:
    """Return the logit of every candidate (task, option) from (task, worker, option) rows."""
    return _Direct(config, tensors, annotations, num_options, tied).run()


class _Direct:
    def __init__(
        self,
        config: UnrolledConfig,
        tensors: dict[str, np.ndarray],
        annotations: list[tuple[int, int, int]],
        num_options: int,
        tied: bool,
    ) -> None:
        self.config, self.w, self.annotations = config, tensors, annotations
        self.num_options, self.tied = num_options, tied
        self.of_task: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self.of_pair: dict[tuple[int, int], list[int]] = defaultdict(list)
        self.count: dict[int, int] = defaultdict(int)
        for task, worker, option in annotations:
            self.of_task[task].append((worker, option))
            self.of_pair[worker, option].append(task)
            self.count[worker] += 1
        everything = range(num_options)
        self.options = {
            task: sorted({o for _, o in answers}) if tied else list(everything)
            for task, answers in self.of_task.items()
        }
        truths = ["same", "other"] if tied else list(everything)
        self.rows = [(w, o, k) for (w, o) in sorted(self.of_pair) for k in truths]

    def truth(self, answer: int, option: int) -> Any:
        if self.tied:
            return "same" if answer == option else "other"
        return option

    def is_same(self, row: tuple[int, int, Any]) -> bool:
        return bool(row[2] == ("same" if self.tied else row[1]))

    def norm(self, name: str, layer: int | None, x: Vector) -> Vector:
        scale, shift = self.w[f"{name}.norm.scale"], self.w[f"{name}.norm.shift"]
        if layer is not None:
            scale, shift = (
                self.of(f"{name}.norm.scale", layer),
                self.of(f"{name}.norm.shift", layer),
            )
        return (x - x.mean()) / math.sqrt(x.var() + 1e-5) * scale + shift

    def of(self, name: str, layer: int) -> Any:
        return self.w[name][0 if self.config.shared else layer]

    def start(self, name: str, features: list[float]) -> Vector:
        hidden = np.array(features) @ self.w[f"{name}.hidden.weight"]
        hidden = np.maximum(hidden + self.w[f"{name}.hidden.bias"], 0)
        return hidden @ self.w[f"{name}.output.weight"] + self.w[f"{name}.output.bias"]

    def finish(self, name: str, layer: int, hidden: Vector) -> Vector:
        hidden = np.maximum(hidden + self.of(f"{name}.hidden.bias", layer), 0)
        return hidden @ self.of(f"{name}.output.weight", layer) + self.of(
            f"{name}.output.bias", layer
        )

    def run(self) -> dict[tuple[int, int], float]:
        share = {
            (t, k): sum(o == k for _, o in answers) / len(answers)
            for t, answers in self.of_task.items()
            for k in self.options[t]
        }
        log_k = math.log1p(self.num_options)
        s = {
            (t, k): self.start(
                "start.task",
                [
                    v,
                    math.log1p(v * len(self.of_task[t])),
                    v - max(share[t, j] for j in self.options[t]),
                    math.log1p(len(self.of_task[t])),
                    log_k,
                ],
            )
            for (t, k), v in share.items()
        }
        c = {}
        for row in self.rows:
            n, n_w = len(self.of_pair[row[:2]]), self.count[row[0]]
            same, is_tied = float(self.is_same(row)), float(self.tied)
            features = [same, is_tied, math.log1p(n), math.log1p(n_w), n / n_w, log_k]
            c[row] = self.start("start.row", features)
        p, logits = dict(share), {}
        for layer in range(self.config.layers):
            sums, expected = self.sums(layer, s, p)
            confusion, coin = self.statistics(layer, expected)
            c = self.update_rows(layer, c, sums, expected, confusion, coin)
            s, logs = self.update_tasks(layer, s, c, p, share, confusion, coin)
            logits = {
                key: float((self.norm("output", None, x) @ self.w["output.weight"])[0])
                for key, x in s.items()
            }
            if self.config.statistics:
                for key in logits:
                    trusted = zip(logs, self.w["trust"][layer], strict=True)
                    logits[key] += sum(log[key] * trust for log, trust in trusted)
            p = {key: math.exp(x) for key, x in self.log_softmax(logits).items()}
        return logits

    def log_softmax(self, logits: dict[tuple[int, int], float]) -> dict[tuple[int, int], float]:
        total = {
            t: math.log(sum(math.exp(logits[t, k]) for k in ks)) for t, ks in self.options.items()
        }
        return {(t, k): x - total[t] for (t, k), x in logits.items()}

    def sums(self, layer: int, s: Any, p: Any) -> tuple[Any, Any]:
        width = self.config.width
        sums = {row: np.zeros(width) for row in self.rows}
        expected = dict.fromkeys(self.rows, 0.0)
        for t, w, o in self.annotations:
            for k in self.options[t]:
                y = self.norm("value", layer, s[t, k]) @ self.of("value.weight", layer)
                certain = y[width:] + self.of("value.posterior.weight", layer)[0]
                row = (w, o, self.truth(o, k))
                sums[row] = sums[row] + y[:width] + p[t, k] * certain
                expected[row] += p[t, k]
        return sums, expected

    def statistics(self, layer: int, expected: Any) -> tuple[Any, Any]:
        shrink, coin_shrink, even = np.exp(self.w["smoothing.log"][layer])
        right: dict[int, float] = defaultdict(float)
        for row, n in expected.items():
            right[row[0]] += n * self.is_same(row)
        crowd = (sum(right.values()) + 1) / (len(self.annotations) + 2)
        others = math.log(max(self.num_options - 1, 1))
        confusion, coin = {}, {}
        for row in self.rows:
            w, o, k = row
            if self.tied:
                pooled = sum(n for r, n in expected.items() if r[2] == k)
                share = (pooled + even) / (sum(expected.values()) + 2 * even)
                count = sum(n for r, n in expected.items() if r[0] == w and r[2] == k)
                total = self.count[w]
            else:
                pooled = sum(n for r, n in expected.items() if r[1:] == (o, k))
                all_k = sum(n for r, n in expected.items() if r[2] == k)
                share = (pooled + even) / (all_k + self.num_options * even)
                count = expected[row]
                total = sum(n for r, n in expected.items() if r[0] == w and r[2] == k)
            spread = others if self.tied and not self.is_same(row) else 0.0
            value = (count + shrink * share) / (total + shrink)
            confusion[row] = math.log(value + 1e-6) - spread
            own = (right[w] + coin_shrink * crowd) / (self.count[w] + coin_shrink)
            same = self.is_same(row)
            coin[row] = math.log((own if same else 1 - own) + 1e-6) - (0.0 if same else others)
        return confusion, coin

    def update_rows(
        self, layer: int, c: Any, sums: Any, expected: Any, confusion: Any, coin: Any
    ) -> Any:
        normed = {row: self.norm("row", layer, x) for row, x in c.items()}
        use = float(self.config.statistics)
        out = {}
        for row in self.rows:
            w, o, k = row
            n, n_w = len(self.of_pair[w, o]), self.count[w]
            of_truth = [r for r in self.rows if r[0] == w and r[2] == k]
            truth = sum(sums[r] for r in of_truth) / (
                sum(len(self.of_pair[r[:2]]) for r in of_truth) + 1
            )
            of_worker = [r for r in self.rows if r[0] == w and self.is_same(r)]
            same = sum(normed[r] * len(self.of_pair[r[:2]]) for r in of_worker) / n_w
            alike = [r for r in self.rows if r[2] == k and (self.tied or r[1] == o)]
            trust = {r: len(self.of_pair[r[:2]]) / (self.count[r[0]] + 5) for r in alike}
            pooled = sum(normed[r] * trust[r] for r in alike) / (sum(trust.values()) + 1e-3)
            scalars = [
                float(self.is_same(row)),
                float(self.tied),
                math.log1p(n),
                math.log1p(n_w),
                expected[row] / n,
                math.log1p(expected[row]),
                confusion[row] * use,
                coin[row] * use,
            ]
            own = np.concatenate(
                [normed[row], sums[row] / (n + 1), sums[row] / math.sqrt(n + 1), scalars]
            )
            hidden = (
                own @ self.of("row.own.weight", layer)
                + truth @ self.of("row.truth.weight", layer)
                + same @ self.of("row.worker.weight", layer)
                + pooled @ self.of("row.pooled.weight", layer)
            )
            out[row] = c[row] + self.finish("row", layer, hidden)
        return out

    def update_tasks(
        self, layer: int, s: Any, c: Any, p: Any, share: Any, confusion: Any, coin: Any
    ) -> tuple[Any, list[Any]]:
        use = float(self.config.statistics)
        weight = self.of("message.weight", layer)
        message = {r: self.norm("message", layer, x) @ weight for r, x in c.items()}
        normed = {key: self.norm("task", layer, x) for key, x in s.items()}
        num_tasks = len(self.of_task)
        evidence, classical = {}, []
        prior = {
            k: math.log(
                (sum(p[t, k] for t in self.options if (t, k) in p) + 1)
                / (num_tasks + self.num_options)
            )
            for k in range(self.num_options)
        }
        for values in (message, confusion, coin):
            summed = {
                (t, k): sum(values[w, o, self.truth(o, k)] for w, o in self.of_task[t])
                for t, k in s
            }
            if values is message:
                evidence = summed
            else:
                classical.append({key: x + prior[key[1]] for key, x in summed.items()})
        logs = [
            {key: max(x, -10.0) for key, x in self.log_softmax(joint).items()}
            for joint in classical
        ]
        out = {}
        for t, k in s:
            n = len(self.of_task[t])
            scalars = [share[t, k], p[t, k], prior[k]]
            scalars += [log[t, k] * use for log in logs]
            scalars += [math.exp(log[t, k]) * use for log in logs]
            scalars += [max(joint[t, k] / math.sqrt(n), -10) * use for joint in classical]
            own = np.concatenate(
                [normed[t, k], evidence[t, k] / n, evidence[t, k] / math.sqrt(n), scalars]
            )
            mean = sum(normed[t, j] for j in self.options[t]) / len(self.options[t])
            option = sum(x for (_, j), x in normed.items() if j == k) / num_tasks
            hidden = (
                own @ self.of("task.own.weight", layer)
                + np.append(mean, [math.log1p(n), math.log1p(self.num_options)])
                @ self.of("task.mean.weight", layer)
                + option @ self.of("task.option.weight", layer)
            )
            out[t, k] = s[t, k] + self.finish("task", layer, hidden)
        return out, logs
