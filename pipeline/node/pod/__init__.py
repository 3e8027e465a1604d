"""The agent as PID 1 of a pod: what it is told, whom it meets, and what it leaves behind."""
