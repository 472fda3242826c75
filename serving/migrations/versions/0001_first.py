"""The first form: publications, lists, arms, rows, dispositions, costs and the audit trail.

The triggers make the tables append-only. A customer's id may be changed into a pseudonym and into nothing else, so
that a person can be erased while the arms and rows stay. The tables are spelt out here and not taken from the models,
which will move on while this file must not.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = (
    "ledger_list",
    "ledger_quarter",
    "ledger_assignment",
    "ledger_entry",
    "ledger_disposition",
    "ledger_cost",
    "ledger_audit",
)
NAMING_CUSTOMERS = ("ledger_assignment", "ledger_entry", "ledger_disposition", "ledger_cost")


def upgrade() -> None:
    _tables()
    for table in APPEND_ONLY:
        guard = _guard_postgresql if op.get_bind().dialect.name == "postgresql" else _guard_sqlite
        guard(table)


def _erasing(table: str) -> str:
    """When a change is an erasure: the id becomes a pseudonym."""
    if table not in NAMING_CUSTOMERS:
        return "1 = 0"
    return "NEW.customer_id LIKE 'erased-%' AND NEW.customer_id <> OLD.customer_id"


def _guard_sqlite(table: str) -> None:
    refuse = "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
    op.execute(f"CREATE TRIGGER {table}_keep BEFORE DELETE ON {table} {refuse}")
    op.execute(f"CREATE TRIGGER {table}_fix BEFORE UPDATE ON {table} WHEN NOT ({_erasing(table)}) {refuse}")


def _guard_postgresql(table: str) -> None:
    op.execute(
        "CREATE OR REPLACE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$"
    )
    run = "EXECUTE FUNCTION ledger_refuse()"
    op.execute(f"CREATE TRIGGER {table}_keep BEFORE DELETE ON {table} FOR EACH ROW {run}")
    op.execute(f"CREATE TRIGGER {table}_fix BEFORE UPDATE ON {table} FOR EACH ROW WHEN (NOT ({_erasing(table)})) {run}")


def _tables() -> None:
    op.create_table(
        "ledger_audit",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "ledger_publication",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("bundle", sa.String(), nullable=False),
        sa.Column("skill", sa.Boolean(), nullable=False),
        sa.Column("horizon", sa.Integer(), nullable=False),
        sa.Column("inputs", sa.String(), nullable=False),
        sa.Column("folder", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("as_of", "number"),
    )
    op.create_index(op.f("ix_ledger_publication_as_of"), "ledger_publication", ["as_of"], unique=False)
    op.create_table(
        "ledger_quarter",
        sa.Column("quarter", sa.String(), nullable=False),
        sa.Column("population", sa.String(), nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("salt", sa.String(), nullable=False),
        sa.Column("risk_low", sa.Double(), nullable=False),
        sa.Column("risk_high", sa.Double(), nullable=False),
        sa.Column("value_low", sa.Double(), nullable=False),
        sa.Column("value_high", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("quarter", "population"),
    )
    op.create_table(
        "ledger_secret",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "ledger_list",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("publication", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.Column("closes", sa.Date(), nullable=False),
        sa.Column("shown", sa.Integer(), nullable=False),
        sa.Column("held_out", sa.Integer(), nullable=False),
        sa.Column("exempt", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["publication"],
            ["ledger_publication.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_ledger_list_publication"), "ledger_list", ["publication"], unique=False)
    op.create_table(
        "ledger_assignment",
        sa.Column("customer_id", sa.String(), nullable=False),
        sa.Column("quarter", sa.String(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("population", sa.String(), nullable=False),
        sa.Column("stratum", sa.String(), nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("exempt", sa.Boolean(), nullable=False),
        sa.Column("wash_out", sa.Boolean(), nullable=False),
        sa.Column("list_id", sa.String(), nullable=False),
        sa.Column("entered", sa.Date(), nullable=False),
        sa.Column("action", sa.String(), nullable=True),
        sa.Column("kept_forecast", sa.Double(), nullable=True),
        sa.Column("spend_forecast", sa.Double(), nullable=True),
        sa.Column("margin_forecast", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["list_id"],
            ["ledger_list.id"],
        ),
        sa.PrimaryKeyConstraint("customer_id", "quarter"),
    )
    op.create_index(op.f("ix_ledger_assignment_list_id"), "ledger_assignment", ["list_id"], unique=False)
    op.create_table(
        "ledger_disposition",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("list_id", sa.String(), nullable=False),
        sa.Column("customer_id", sa.String(), nullable=False),
        sa.Column("at", sa.String(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=True),
        sa.Column("cost", sa.Double(), nullable=True),
        sa.Column("by", sa.String(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("follow_up_on", sa.Date(), nullable=True),
        sa.Column("held_out", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["list_id"],
            ["ledger_list.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("list_id", "customer_id", "at", "what"),
    )
    op.create_index(op.f("ix_ledger_disposition_customer_id"), "ledger_disposition", ["customer_id"], unique=False)
    op.create_table(
        "ledger_entry",
        sa.Column("list_id", sa.String(), nullable=False),
        sa.Column("customer_id", sa.String(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=True),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=True),
        sa.Column("owner", sa.String(), nullable=True),
        sa.Column("channel", sa.String(), nullable=True),
        sa.Column("cost", sa.Double(), nullable=True),
        sa.Column("expected_profit", sa.Double(), nullable=True),
        sa.Column("churn_probability", sa.Double(), nullable=True),
        sa.Column("value_at_risk", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["list_id"],
            ["ledger_list.id"],
        ),
        sa.PrimaryKeyConstraint("list_id", "customer_id"),
    )
    op.create_index("ledger_entry_customer", "ledger_entry", ["customer_id"], unique=False)
    op.create_table(
        "ledger_cost",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("list_id", sa.String(), nullable=False),
        sa.Column("customer_id", sa.String(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("amount", sa.Double(), nullable=False),
        sa.Column("disposition", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["disposition"],
            ["ledger_disposition.id"],
        ),
        sa.ForeignKeyConstraint(
            ["list_id"],
            ["ledger_list.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_ledger_cost_list_id"), "ledger_cost", ["list_id"], unique=False)
