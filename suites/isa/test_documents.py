"""The example of the documentation does what the text beside it says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "machine-code.md"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    path = tmp_path / "example.py"
    path.write_text(code)
    return path


def test_the_example_is_right_and_its_missing_mask_is_found(example: Path, capsys: pytest.CaptureFixture[str]):
    runpy.run_path(str(example))
    verdict, finding = capsys.readouterr().out.splitlines()
    assert verdict.startswith("True ")
    assert finding.startswith("out_of_bounds_read: `buffer_load_dword")
    assert "at example.py:10 reads outside every tensor, at byte 400 of weight" in finding


def test_the_example_without_its_mistake_has_no_finding(example: Path, capsys: pytest.CaptureFixture[str]):
    text = example.read_text()
    assert "tl.load(weight + at)," in text
    example.write_text(text.replace("tl.load(weight + at),", "tl.load(weight + at, mask=at < width),"))
    runpy.run_path(str(example))
    assert len(capsys.readouterr().out.strip().splitlines()) == 1
