"""Two ways for another team to go on with a pipeline's data: by its asset's event, and by asking."""

from airflow.sdk import DAG, Asset, task

from airflow_provider_pipetrack import TransferReadySensor

# Emitted by the audit of the transfer to this stage (etl.yaml), and only when it matched.
ORDERS = Asset("pipetrack://customer_etl/warehouse.customer_orders")

with DAG("on_audited_orders", schedule=[ORDERS], tags=["example"]):

    @task
    def count(triggering_asset_events=None):
        """Say what the audited transfer has moved."""
        for event in triggering_asset_events[ORDERS]:
            print(event.extra["records_succeeded"], "records,", event.extra["audit_result"])

    count()

with DAG("after_customers", schedule="0 4 * * *", catchup=False, tags=["example"]):
    wait = TransferReadySensor(
        task_id="wait_for_customers",
        pipeline_id="customer_etl",
        stage="staging.customers",
        poke_interval=60,
        timeout=6 * 3600,
        deferrable=True,
    )

    @task
    def use():
        """Use the customers of this date."""

    wait >> use()
