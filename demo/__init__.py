"""The demo, and the Airflow process that it and the end-to-end tests use."""
