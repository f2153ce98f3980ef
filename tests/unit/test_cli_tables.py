"""Tables that commands print."""

from __future__ import annotations

from operator import itemgetter

import pytest
from rich.console import Console

from airflow_provider_pipetrack.cli.shown import print_table

COLUMNS = {name: itemgetter(name) for name in ("transfer", "status", "remark")}


def row(transfer="load", status="completed", remark="fine"):
    return {"transfer": transfer, "status": status, "remark": remark}


@pytest.fixture(autouse=True)
def _wide_as_a_file(monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "80")


def lines_of(text):
    return [line.rstrip() for line in text.splitlines()]


def test_columns_are_as_wide_as_their_texts_are_shown(capsys):
    print_table("Transfers", COLUMNS, [row("注文"), row(remark="")])

    assert lines_of(capsys.readouterr().out) == [
        "Transfers",
        "┏━━━━━━━━━━┳━━━━━━━━━━━┳━━━━━━━━┓",
        "┃ transfer ┃ status    ┃ remark ┃",
        "┡━━━━━━━━━━╇━━━━━━━━━━━╇━━━━━━━━┩",
        "│ 注文     │ completed │ fine   │",
        "│ load     │ completed │        │",
        "└──────────┴───────────┴────────┘",
    ]


@pytest.mark.parametrize("remark", ["first\nsecond", "x" * 160])
def test_a_text_of_several_lines_keeps_its_row_together(capsys, remark):
    print_table("", COLUMNS, [row(remark=remark), row("send")])

    rows = [line.split("│")[1:3] for line in lines_of(capsys.readouterr().out) if line.startswith("│")]
    assert [[cell.strip() for cell in cells] for cells in rows] == [
        ["load", "completed"],
        ["", ""],
        ["send"] + ["completed"],
    ]


def test_states_have_their_colours(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    print_table("", COLUMNS, [row(), row(status="failed")])

    out = capsys.readouterr().out
    assert "\x1b[32mcompleted\x1b[0m" in out
    assert "\x1b[1;31mfailed" in out


def test_rich_is_asked_as_often_for_many_rows_as_for_few(capsys, mocker):
    asked = mocker.spy(Console, "render_lines")
    print_table("", COLUMNS, [row()] * 2)
    of_few = asked.call_count
    asked.reset_mock()

    print_table("", COLUMNS, [row()] * 200)

    assert capsys.readouterr().out.count("load") == 202
    assert asked.call_count == of_few


def test_a_name_between_colons_is_no_picture(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "20")

    print_table("of :key: b", COLUMNS, [row("db:id:orders", remark="orders.py:100: no such row")])

    out = capsys.readouterr().out
    assert "of :key: b" in out
    assert "db:id:orders" in out
    assert ":100:" in out


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00012345, "0.0001234"), (99.994, "99.99"), (999.9, "999.9"), (12345.0, "12,345"), (86400.25, "86,400"),
     (-4321.5, "-4,322"), (1234567.0, "1,234,567")],
)  # fmt: skip
def test_numbers_are_written_as_people_write_them(capsys, value, text):
    print_table("", {"number": itemgetter("number")}, [{"number": value}])
    assert f"│ {text} " in capsys.readouterr().out
