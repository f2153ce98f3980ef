# Airflow Dag loader: shows the mistakes of broken pipeline files in Airflow's list of import errors
from airflow_provider_pipetrack import report_problems

report_problems()
