"""Tables of gold labels and of quality; every ratio stands beside its denominator."""

from __future__ import annotations

from jobs.table_spec import (
    METHOD,
    PROJECT,
    RUN,
    TASK,
    UPDATED,
    WORKER,
    Column,
    Table,
    key,
    share,
    within_unit,
)

__all__ = ["GOLD_TABLES", "QUALITY_TABLES"]

_MEASURED_RUN = key("run_id", "run that measured this; rows of earlier runs stay")
_REFERENCE = Column("method", "string", "whose labels are meant: the first of methods", True)


def _count(name: str, comment: str) -> Column:
    return Column(name, "bigint", comment, required=True)


def _is(name: str, comment: str) -> Column:
    return Column(name, "boolean", comment, required=True)


GOLD_TABLES = (
    Table(
        "gold_labels",
        "Known truth of tasks",
        ("project_id", "task_id"),
        (PROJECT, TASK, Column("true_label", "string", "the truth", required=True), RUN, UPDATED),
        volatile=("run_id", "updated_at"),
        cluster_by=("project_id", "task_id"),
    ),
    Table(
        "rejected_gold_labels",
        "Rows of gold of the latest run that were not used, with all reasons",
        (),
        (
            Column("project_id", "string", "as it came, text"),
            Column("task_id", "string", "as it came, text"),
            Column("true_label", "string", "as it came, text"),
            Column("reasons", "array<string>", "why the row was not used", required=True),
            Column("raw_record", "string", "the whole row as JSON, or a line that did not parse"),
            Column("source_file", "string", "file the row was read from"),
            RUN,
        ),
    ),
)

QUALITY_TABLES = (
    Table(
        "project_quality",
        "How good the annotations and labels of a project are, for every run",
        ("project_id", "run_id"),
        (
            PROJECT,
            _MEASURED_RUN,
            _REFERENCE,
            _count("num_tasks", "tasks"),
            _count("num_annotations", "answers"),
            _count("num_options", "options that were answered"),
            _count("num_pairable_tasks", "tasks with two answers or more"),
            _count("num_pairable_annotations", "answers of these tasks"),
            Column(
                "krippendorff_alpha",
                "double",
                "nominal, of the pairable tasks; at most 1, 0 by chance; null if all answers equal",
            ),
            Column(
                "krippendorff_alpha_ordinal",
                "double",
                "with the order of the options; null unless every option is a number",
            ),
            Column(
                "fleiss_kappa",
                "double",
                "of the pairable tasks, for any number of answers per task; at most 1, 0 by chance",
            ),
            _count("num_worker_pairs", "pairs of busy workers with ten shared tasks or more"),
            Column("mean_cohen_kappa", "double", "mean of the kappa of these pairs; at most 1"),
            _count("num_labelled", "tasks with a label"),
            share("coverage", "share of the tasks with a label (of num_tasks)"),
            _count("num_entropies", "labels with an entropy"),
            Column("mean_entropy", "double", "of the labels that have one, in nats"),
            Column(
                "label_shares",
                "map<string, double>",
                "label -> share of num_labelled, at most 1,000 of the most frequent",
            ),
            share(
                "class_balance",
                "entropy of the label shares, as a share of that of num_options equal ones",
            ),
            _count("num_method_pairs", "pairs of labels of two methods for one task"),
            share("method_disagreement", "share of these pairs that differ"),
            Column("previous_run_id", "string", "newest earlier run that measured the project"),
            share("label_drift", "half the sum of the changes of label shares since that run"),
            _count("num_gold", "labelled tasks with known truth that the method was not told"),
            share("accuracy", "share of num_gold labels that are the truth"),
            share("macro_f1", "mean F1 of the options that are a truth or label of these tasks"),
            share("expected_calibration_error", "of the probabilities of these labels"),
            UPDATED,
        ),
        volatile=("updated_at",),
        checks={
            **within_unit("coverage", "class_balance", "method_disagreement", "label_drift"),
            **within_unit("accuracy", "macro_f1", "expected_calibration_error"),
            "coefficients_at_most_one": (
                "coalesce(greatest(krippendorff_alpha, krippendorff_alpha_ordinal, fleiss_kappa, "
                "mean_cohen_kappa), 0) <= 1.000001"
            ),
        },
        cluster_by=("project_id", "run_id"),
    ),
    Table(
        "method_quality",
        "How good the labels of a method are in a project, for every run",
        ("project_id", "method", "run_id"),
        (
            PROJECT,
            METHOD,
            _MEASURED_RUN,
            _count("num_labelled", "tasks with a label"),
            _count("num_probabilities", "labels with a probability"),
            share("mean_probability", "of the labels that have one"),
            Column("reference_method", "string", "the first of methods", required=True),
            _count("num_differing", "labels other than that of the reference method"),
            share("disagreement_with_reference", "share of num_labelled that differ from it"),
            _count("num_gold", "labelled tasks with known truth that the method was not told"),
            _count("num_correct", "of these, labels that are the truth"),
            share("accuracy", "num_correct of num_gold; null without any"),
            _count("num_classes", "options that are a truth or label of these tasks"),
            share("macro_f1", "mean F1 of these options"),
            _count("num_calibrated", "labels with a probability and known truth"),
            share(
                "expected_calibration_error",
                "mean distance of accuracy and probability in ten bins (of num_calibrated)",
            ),
            Column(
                "confusion",
                "array<struct<true_label: string, label: string, num_tasks: bigint>>",
                "truth against label, the most frequent pairs first, at most 1,000",
            ),
            UPDATED,
        ),
        volatile=("updated_at",),
        checks={
            **within_unit("mean_probability", "disagreement_with_reference"),
            **within_unit("accuracy", "macro_f1", "expected_calibration_error"),
        },
        cluster_by=("project_id", "method", "run_id"),
    ),
    Table(
        "worker_quality",
        "One row per worker, judged by the labels of the first method and by the other workers",
        ("project_id", "worker_id"),
        (
            PROJECT,
            WORKER,
            _REFERENCE,
            _count("num_annotations", "answers of the worker"),
            _count("num_labelled", "answers to tasks with a label"),
            share("agreement_with_aggregate", "share of num_labelled equal to the label"),
            share("agreement_shrunk", "the same with ten answers more that are like the project"),
            _count("num_with_peers", "answers to tasks that others answered too"),
            share("agreement_with_peers", "mean share of the others who gave the same answer"),
            _count("num_gold", "answers to tasks with known truth"),
            share("accuracy", "share of num_gold equal to the truth"),
            _count("num_labels", "rows of the confusion matrix: labels of the answered tasks"),
            share(
                "spam_score",
                "distance of the confusion matrix from equal rows (Raykar and Yu 2012): 0 a "
                "spammer, 1 perfect or perfectly wrong; null below two rows",
            ),
            Column(
                "spam_score_by_chance",
                "double",
                "mean spam_score of one who does not look, with as many answers; 0 with many",
            ),
            share("confusion_trace", "mean of the diagonal of the confusion matrix"),
            Column(
                "confusion",
                "array<struct<label: string, answer: string, num_annotations: bigint>>",
                "label against answer, the most frequent pairs first, at most 1,000",
            ),
            _count("num_answers", "different answers given"),
            Column("answer_entropy", "double", "of the answers given, in nats"),
            Column("top_answer", "string", "most frequent answer", required=True),
            share("top_answer_share", "share of num_annotations"),
            share("top_answer_label_share", "share of num_labelled tasks with it as the label"),
            _count("num_rare_errors", "answers other than the label, of at most five workers"),
            _count("num_shared_errors", "of these, shared with the most alike worker"),
            Column(
                "num_common_errors",
                "bigint",
                "rare errors on tasks that the most alike worker answered too; null below five "
                "shared errors",
            ),
            share("shared_error_share", "num_shared_errors of num_common_errors"),
            Column(
                "num_shared_by_chance",
                "double",
                "as many of num_common_errors as any other worker of these tasks would share",
            ),
            Column("most_alike_worker_id", "string", "who shares most of these errors"),
            _count("num_intervals", "from one answer to the next, without pauses of an hour"),
            Column("median_seconds", "double", "of these intervals"),
            _is("has_few_annotations", "fewer than ten answers: too few to judge by"),
            _is("is_constant_suspect", "95 % of the answers are one, below 80 % of the labels"),
            _is(
                "is_spam_suspect",
                "ten labelled answers or more, and the part of spam_score that is not chance "
                "surely below 0.4 of what the project has on average",
            ),
            _is(
                "is_copy_suspect",
                "five shared errors or more, 0.6 of the common ones and far more than by chance",
            ),
            RUN,
            UPDATED,
        ),
        volatile=("run_id", "updated_at"),
        checks={
            **within_unit("agreement_with_aggregate", "agreement_shrunk", "agreement_with_peers"),
            **within_unit("accuracy", "spam_score", "confusion_trace", "top_answer_share"),
            **within_unit("top_answer_label_share", "shared_error_share"),
        },
        cluster_by=("project_id", "worker_id"),
    ),
    Table(
        "task_quality",
        "Tasks worth a look: ambiguous, likely mislabelled, or labelled differently by methods. A "
        "task without a row is none of these",
        ("project_id", "task_id"),
        (
            PROJECT,
            TASK,
            _REFERENCE,
            Column("label", "string", "of that method, null where it abstains"),
            _count("num_annotations", "answers of the task"),
            Column("vote_entropy", "double", "of the shares of votes, in nats"),
            share("vote_margin", "votes of the first option minus the second, of num_annotations"),
            Column("num_methods", "int", "methods with a label for the task", required=True),
            share("support", "mean probability of the label over num_methods methods"),
            share("method_disagreement", "share of the pairs of these methods that differ"),
            Column("dissenting_methods", "array<string>", "methods with another label"),
            _is("is_ambiguous", "three answers or more, and a vote_margin of at most 0.2"),
            _is("is_likely_mislabelled", "support below one half"),
            RUN,
            UPDATED,
        ),
        volatile=("run_id", "updated_at"),
        checks=within_unit("vote_margin", "support", "method_disagreement"),
        cluster_by=("project_id", "task_id"),
    ),
    Table(
        "label_thresholds",
        "How many labels remain, and how right they are, from a probability on",
        ("project_id", "method", "threshold"),
        (
            PROJECT,
            METHOD,
            Column("threshold", "double", "smallest probability of a label", required=True),
            _count("num_labelled", "labels with a probability"),
            _count("num_tasks", "of these, labels with at least the threshold"),
            share("share_of_tasks", "num_tasks of num_labelled"),
            _count("num_gold", "of num_tasks, with known truth that the method was not told"),
            _count("num_correct", "of num_gold, labels that are the truth"),
            share("accuracy", "num_correct of num_gold; null without any"),
            RUN,
            UPDATED,
        ),
        volatile=("run_id", "updated_at"),
        checks=within_unit("threshold", "share_of_tasks", "accuracy"),
        cluster_by=("project_id", "method"),
    ),
)
