"""A Dag written by hand, whose tasks are tracked like those of a pipeline file."""

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, task

from airflow_provider_pipetrack import AuditSensor, TrackedOperator, report, tracked


def clean():
    """Clean the records, and say how many could not be cleaned."""
    report(records_succeeded=98, records_failed=2)


def enough(source_stage, target_stage, audit_config):
    """Compare what was cleaned with what the next stage needs."""
    return {"audit_result": "matched", "needed": audit_config["needed"]}


with DAG("hand_written_orders", schedule=None, tags=["example"]):
    extract = TrackedOperator(
        task_id="extract",
        operator=BashOperator,
        operator_args={"bash_command": "echo extracting"},
        transfer={"stage_i_details": "shop", "stage_i_plus_1_details": "landing", "estimated_duration": "5m"},
    )
    cleaned = TrackedOperator(
        task_id="clean",
        python_callable=clean,
        transfer={"stage_i_details": "landing", "stage_i_plus_1_details": "cleaned"},
        retries=2,
        owner="shop_team",
    )
    audited = AuditSensor(task_id="audit_clean", transfer="clean", function=enough, audit_config={"needed": 90})

    per_country = tracked(BashOperator).partial(
        task_id="per_country", transfer={"stage_i_details": "cleaned", "stage_i_plus_1_details": "reports"}
    )

    @task.tracked(transfer={"stage_i_details": "reports", "stage_i_plus_1_details": "mailbox"})
    def send():
        """Send the reports."""
        return {"records_succeeded": 3, "records_failed": 0}

    countries = per_country.expand(bash_command=["echo de", "echo fr", "echo in"])
    extract >> cleaned >> audited >> countries >> send()
