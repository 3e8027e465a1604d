"""Stages as objects of a Kubernetes cluster."""
