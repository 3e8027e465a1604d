"""What has to run, and why."""
