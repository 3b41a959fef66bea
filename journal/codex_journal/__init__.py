"""The append-only session log and its database.

SQLAlchemy Core over PostgreSQL or SQLite; no business rules, no Temporal, no Kubernetes.
"""
