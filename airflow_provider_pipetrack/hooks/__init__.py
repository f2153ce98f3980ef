"""The Airflow connection type ``pipetrack``: a whole chain of locations."""
