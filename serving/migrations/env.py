"""Alembic's way in: migrate within the transaction that the ledger has already begun."""

from __future__ import annotations

from alembic import context

from serving.ledger import VERSION_TABLE, Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
)
context.run_migrations()
