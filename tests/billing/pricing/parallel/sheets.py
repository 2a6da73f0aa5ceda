"""Spreadsheets of parallel months, as text and as workbooks."""

from __future__ import annotations

import io
from typing import Any

import xlsxwriter
from django.core.files.uploadedfile import SimpleUploadedFile

HEADER = ("customer", "amount", "currency", "account", "note")


def csv_file(text: str, name: str = "november.csv") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, text.encode(), content_type="text/csv")


def workbook(*rows: tuple[Any, ...]) -> bytes:
    """A workbook with these rows, numbers as numbers."""
    file = io.BytesIO()
    book = xlsxwriter.Workbook(file)
    sheet = book.add_worksheet()
    for number, row in enumerate(rows):
        sheet.write_row(number, 0, row)
    book.close()
    return file.getvalue()
