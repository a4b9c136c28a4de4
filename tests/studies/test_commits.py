"""Which commit a result names, and how much of the code is another since."""

import json
import subprocess

from studies.documents import commits


def repository(folder):
    """A repository of one old result without a commit; returns its folder and what commits a file's text."""

    def git(*words):
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout

    def commit(path, text):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
        git("add", ".")
        git("commit", "-m", path)
        return git("rev-parse", "HEAD").strip()

    git("init")
    return folder, commit


def test_lines_are_those_of_the_code_since_the_commit_of_the_file(tmp_path):
    root, commit = repository(tmp_path)
    first = commit("fer_jax/a.py", "one = 1\ntwo = 2\n")
    old = commit("docs/results/old.json", "{}")
    commit("fer_jax/a.py", "one = 1\ntwo = 3\n")
    commit("studies/b.py", "three = 3\n")
    new = commit("configs/c.py", "four = 4\n")
    commit("docs/results/related/new.json", json.dumps({"environment": {"commit": f"{new}+"}}))
    commit("docs/results/lost.json", json.dumps({"environment": {"commit": "0" * 40}}))
    found = commits.measured(root)
    assert found == [
        commits.Measured("lost", "00000000", True, None),
        commits.Measured("old", old[:8], False, 3),
        commits.Measured("related/new", f"{new[:8]}+", True, 0),
    ]
    assert commits.changed(first, root) == {"fer_jax/a.py": 2, "configs/c.py": 1}


def test_comments_docstrings_and_layout_are_no_change(tmp_path):
    root, commit = repository(tmp_path)
    first = commit("fer_jax/a.py", 'def f(a, b):\n    """Adds."""\n    return a + b\n')
    commit(
        "fer_jax/a.py",
        '"""A sum."""\n\n\ndef f(\n    a, b,\n):\n    """Returns a sum."""\n    return a + b  # of two\n',
    )
    assert commits.changed(first, root) == {}
    commit("fer_jax/a.py", "def f(a, b):\n    return a - b\n")
    commit("fer_jax/b.txt", "no code")
    assert commits.changed(first, root) == {"fer_jax/a.py": 2}


def test_a_sweeps_cells_and_a_studys_modules_name_their_own():
    sweep = {"environment": {"commit": None}, "merged": {"environments": [{"commit": "a"}, {"commit": "b+"}, {}]}}
    assert commits.commits(sweep) == {"a", "b+"}
    assert commits.commits({"environment": {"commit": "a"}, "modules": {"losses": {"commit": "c"}}}) == {"a", "c"}
    assert commits.commits({"modules": {"losses": 3}, "environments": {"transfer": {"commit": "d"}}}) == {"d"}
