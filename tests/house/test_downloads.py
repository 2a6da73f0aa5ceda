"""Every download goes through `portal.downloads.recorded_download`, which writes its audit event first."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

# They make responses of files, and one of them records.
MAKERS = {"portal/exports.py", "portal/downloads.py"}
RESPONSES = {
    "FileResponse", "StreamingHttpResponse", "as_download", "csv_lines_response", "csv_response",
    "stored_file_response", "xlsx_response", "zip_response",
}  # fmt: skip
FILE_TYPES = ("text/csv", "application/pdf", "application/zip", "application/vnd.", "application/octet-stream")


def _bypasses(source: str) -> Iterator[str]:
    """Yield what in the source sends a file without a record of it."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) if name in RESPONSES:
                yield name
            case ast.Constant(value=str(text)) if text.lower() == "content-disposition" or text.startswith(FILE_TYPES):
                yield text


def _sources() -> Iterator[Path]:
    for room in ("portal", "customers", "billing"):
        for file in sorted((settings.BASE_DIR / room).rglob("*.py")):
            # The sandbox plays the provider: nothing of the portal is in its files.
            if "sandbox" not in file.parts and str(file.relative_to(settings.BASE_DIR)) not in MAKERS:
                yield file


def test_no_download_bypasses_the_audit_log() -> None:
    found = {(str(file), name) for file in _sources() for name in _bypasses(file.read_text())}
    assert sorted(found) == []


@pytest.mark.parametrize(
    "source",
    [
        "from portal.exports import csv_response",
        "from portal import exports\nexports.xlsx_response('a.xlsx', [], [])",
        "from django.http import FileResponse",
        "response['Content-Disposition'] = 'attachment'",
        "HttpResponse(text, content_type='text/csv; charset=utf-8')",
    ],
)
def test_a_bypass_is_found(source: str) -> None:
    assert list(_bypasses(source)) != []
