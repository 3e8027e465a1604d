"""The framework: a declarative DAG, planned, cached and run; it knows no method."""
