"""Builds k8s/dashboards/*.json and what else is made of the metrics' table; see __main__."""
