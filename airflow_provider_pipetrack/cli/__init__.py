"""The command line: ``pipetrack …`` and, from Airflow 3.2 on, ``airflow pipetrack …``."""
