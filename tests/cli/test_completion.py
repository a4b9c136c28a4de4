"""The script that shtab makes of the parser completes commands, flags and files in bash."""

import pathlib
import subprocess

import pytest

from fer_jax.cli.main import parser

ASK = """
source {script}
cd {folder}
COMP_WORDS=({words} {last}) COMP_CWORD={count}
"$(complete -p fer-jax | sed 's/.*-F \\([^ ]*\\).*/\\1/')"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory) -> pathlib.Path:
    shtab = pytest.importorskip("shtab")
    path = tmp_path_factory.mktemp("completion") / "fer-jax"
    path.write_text(shtab.complete(parser(), shell="bash"))
    return path


@pytest.mark.parametrize(
    ("words", "last", "offered"),
    [
        ("fer-jax", "tr", {"train"}),
        ("fer-jax config", "--di", {"--diff"}),
        ("fer-jax train --config", "qu", {"quick.py"}),
        ("fer-jax data prepare --out", "qu", {"quick.py"}),
    ],
)
def test_bash_completes_commands_flags_and_files(script, tmp_path, words, last, offered):
    (tmp_path / "quick.py").touch()
    count = len(words.split())
    text = ASK.format(script=script, folder=tmp_path, words=words, last=last, count=count)
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True)
    assert set(done.stdout.split()) == offered, done.stderr
