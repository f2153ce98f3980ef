# Airflow Dag loader
from airflow_provider_pipetrack import load_pipelines

load_pipelines(globals())
