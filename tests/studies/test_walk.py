"""The walk through the pages runs what is written there, in one shell, and notices a command that fails."""

import os

import pytest

from studies import record, walk
from studies.documents import performance

PAGE = """
# Begin

Run it:

```
export GREETING=hello
```

## A file

```python
# said.py
print("said")
```

```sh
false
echo $GREETING
python3 said.py
```
"""


def test_a_page_is_read_in_order():
    found = walk.blocks("page.md", PAGE)
    assert [(one.heading, one.language) for one in found] == [("Begin", ""), ("A file", "python"), ("A file", "sh")]
    assert found[0].text == "export GREETING=hello\n"


def test_blocks_share_a_shell_and_a_failure_is_noticed(tmp_path):
    shell = walk.Shell(tmp_path, dict(os.environ))
    ran = [shell.run(walk.script(one)) for one in walk.blocks("page.md", PAGE)]
    assert [code for code, _, _ in ran] == [0, 0, 1]
    assert ran[-1][2] == ["hello", "said"]
    assert shell.run(f"pwd; echo https://example.org/{'x'}")[2] == [".", "URL"]
    shell.close()


def test_a_newcomer_has_nothing_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("VIRTUAL_ENV", "/ours")
    monkeypatch.setenv("PATH", "/ours/bin:/usr/bin:/bin")
    for name in ("MAKEFLAGS", "MAKELEVEL", "JAX_PLATFORMS", "FER_JAX_WORKDIRS", "PYTHONPATH"):
        monkeypatch.setenv(name, "ours")
    found = walk.newcomer(tmp_path)
    assert found["PATH"] == "/usr/bin:/bin"
    assert "ours" not in found.values()
    assert found["XDG_CACHE_HOME"] == str(tmp_path / "cache")


def test_a_shell_that_ends_is_told(tmp_path):
    with pytest.raises(RuntimeError, match="exit 3"):
        walk.Shell(tmp_path, dict(os.environ)).run("exit 3\n")


def test_a_block_of_another_language_is_refused():
    with pytest.raises(ValueError, match=r"page\.md, Begin: a block of rust"):
        walk.script(walk.Block("page.md", "Begin", "rust", ""))


def test_the_pages_have_the_commands_that_they_are_known_for():
    texts = [one.text for page in walk.PAGES for one in walk.blocks(page, (record.ROOT / page).read_text())]
    for said in ("make demo", "fer-jax bench", "--config.continual.loss=focal.focal", "fer-jax teach", "def focal"):
        assert any(said in text for text in texts)
    # The clone of a walk makes the demo with its first block, whose seconds are the demo's.
    assert "make demo" in texts[0]


def test_the_table_has_minutes_and_seconds():
    device = {"platform": "cpu", "kind": "cpu", "count": 1}
    machine = {"device": device, "cores": 2, "load_before": 0.1, "packages": {"jax": "1"}, "python": "3"}
    found = {
        "blocks": [{"page": "README.md", "block": performance.OWN_LOSS, "seconds": 119.6}],
        "demo_seconds": {"installation": 59.4, "run": 3600.0, "total": 61.0},
    }
    text = performance.walk({**found, "peak_bytes": 1e9, "environment": machine})
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert [row.split("|")[2].strip() for row in rows] == ["0:59", "60:00", "1:01", "2:00", "2:00"]
