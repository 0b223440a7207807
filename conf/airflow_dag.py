"""Airflow 3 DAG: submits the nightly job to the cluster of the connection `spark_default`.

Copy it to the DAG folder. The package is installed on the machine that submits and on the nodes;
CROWDFM_HOME names the folder with jobs/ and conf/. Credentials of the lake belong to the nodes or
to the connection, never here.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import DAG

HOME = os.environ.get("CROWDFM_HOME", "/opt/crowdfm")

with DAG(
    dag_id="crowdfm_nightly",
    description="Labels and worker scores from the annotations of the lake",
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,  # the job labels the whole lake, so the newest night covers all missed ones
    max_active_runs=1,  # two runs at once would write the same tables
    default_args={
        # A failed or repeated run changes nothing that a successful one has published. A refusal
        # of the configuration (exit code 2) fails again at once and costs only the delay.
        "retries": 2,
        "retry_delay": timedelta(minutes=10),
        "execution_timeout": timedelta(hours=6),
    },
) as dag:
    SparkSubmitOperator(
        task_id="label_annotations",
        conn_id="spark_default",
        name="crowdfm-nightly-{{ ds }}",
        application=f"{HOME}/jobs/nightly.py",
        application_args=["--conf", f"{HOME}/conf/standalone.yaml"],
        # spark-submit fetches jars before the job's own session settings are read.
        packages="io.delta:delta-spark_4.2_2.13:4.4.0",
    )
