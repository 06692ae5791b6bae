"""The order of work: the Kubeflow DAG, recipes, the local runner and the command line."""
