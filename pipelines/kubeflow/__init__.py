"""Run the pipeline on Kubeflow Pipelines: client, schedules, objects."""
