"""The Celery process: plans jobs, streams units, publishes outputs, sweeps up. Use cases speak ports only."""
