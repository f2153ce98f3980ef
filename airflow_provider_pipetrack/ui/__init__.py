"""The pages and the JSON API that show tracking records, behind Airflow's login and rights."""
