"""The business logic of the demo: plain functions over a CSV file and an SQLite database."""

import csv
import sqlite3
from contextlib import closing
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1]
SOURCE = FOLDER / "data" / "orders.csv"
WAREHOUSE = FOLDER / "warehouse.db"


def load_orders():
    """Copy the orders into the staging table; an order without an amount cannot be loaded."""
    with SOURCE.open(newline="") as file:
        orders = list(csv.DictReader(file))
    good = [order for order in orders if order["amount"]]
    with closing(sqlite3.connect(WAREHOUSE)) as database, database:
        database.execute("DROP TABLE IF EXISTS staging_orders")
        database.execute("CREATE TABLE staging_orders (order_id TEXT, day TEXT, customer TEXT, amount REAL)")
        database.executemany("INSERT INTO staging_orders VALUES (:order_id, :day, :customer, :amount)", good)
    return {"records_succeeded": len(good), "records_failed": len(orders) - len(good)}


def publish_orders(ti):
    """Copy staging into production. The first attempt breaks half-way, as real loads sometimes do."""
    with closing(sqlite3.connect(WAREHOUSE)) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS production_orders AS SELECT * FROM staging_orders LIMIT 0")
        database.execute("DELETE FROM production_orders")
        limit = 20 if ti.try_number == 1 else -1
        done = database.execute("INSERT INTO production_orders SELECT * FROM staging_orders LIMIT ?", (limit,)).rowcount
    if ti.try_number == 1:
        raise ConnectionError("the production database closed the connection after 20 rows")
    return {"records_succeeded": done, "records_failed": 0}


def unpublish_orders():
    """Take a half-done publication back; doing it twice is harmless."""
    with closing(sqlite3.connect(WAREHOUSE)) as database, database:
        database.execute("DELETE FROM production_orders")


def total_orders():
    """Add up each day's orders."""
    with closing(sqlite3.connect(WAREHOUSE)) as database, database:
        database.execute("DROP TABLE IF EXISTS daily_totals")
        database.execute(
            "CREATE TABLE daily_totals AS SELECT day, count(*) AS orders, sum(amount) AS amount "
            "FROM production_orders GROUP BY day"
        )
        days = database.execute("SELECT count(*) FROM daily_totals").fetchone()[0]
    return {"records_succeeded": days, "records_failed": 0}


def compare_row_counts(source_stage, target_stage, audit_config):
    """Are all orders that have an amount in the staging table?"""
    with SOURCE.open(newline="") as file:
        expected = sum(1 for order in csv.DictReader(file) if order["amount"])
    found = _ask("SELECT count(*) FROM staging_orders")
    return {
        "audit_result": "matched" if found == expected else "mismatched",
        "source_rows": expected,
        "target_rows": found,
    }


def compare_amounts(source_stage, target_stage, audit_config):
    """Do staging and production hold the same money?"""
    total = "SELECT round(sum(amount), 2) FROM {}"
    staged, published = _ask(total.format("staging_orders")), _ask(total.format("production_orders"))
    matched = published is not None and abs(staged - published) < 0.005
    return {"audit_result": "matched" if matched else "mismatched", "source_sum": staged, "target_sum": published}


def _ask(query):
    with closing(sqlite3.connect(WAREHOUSE)) as database:
        return database.execute(query).fetchone()[0]
