"""Kubernetes objects as plain data: pure functions of settings and jobs. No client here."""
