"""Alembic's entry point; the connection is handed in by db.schema.migrate."""

from alembic import context

from mecapy_platform.db.tables import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, transactional_ddl=True
)
with context.begin_transaction():
    context.run_migrations()
