"""The job store (SQLAlchemy), its migrations, and the sender of Celery messages. Never decides what a job does next."""
