"""What is recorded outside ``execute``: one module for the task's callbacks, one for the Dag's."""
