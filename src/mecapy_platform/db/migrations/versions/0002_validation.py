"""Validation before execution: what an organization asks of its packages, and which programs a node has.

Revision ID: 0002
"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE organizations ADD COLUMN checks JSON DEFAULT '{}' NOT NULL")
    op.execute("ALTER TABLE nodes ADD COLUMN tools JSON DEFAULT '[]' NOT NULL")
