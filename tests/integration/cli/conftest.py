from pathlib import Path

import pytest

DAG = """\
name: toy
params: {word: hello}
stages:
  raw:
    uses: command
    with:
      argv: [sh, -c, 'echo "$1" > "$0/x.txt"; echo said it', '{outputs.o}', '${params.word}']
      outputs: {o: folder}
  cell:
    uses: command
    matrix: {k: [1, 2]}
    inputs: {i: raw.o}
    with:
      argv: [sh, -c, 'cat "$0/x.txt" > "$1/y.txt"; echo ${matrix.k} >> "$1/y.txt"', '{inputs.i}', '{outputs.o}']
      inputs: {i: folder}
      outputs: {o: folder}
  table:
    uses: command
    inputs: {all: [cell.o]}
    with:
      argv:
        - python3
        - -c
        - |
          import json, pathlib, sys
          out = pathlib.Path(sys.argv[1])
          rows = [["both", 0.51234567], ["none", 12]]
          out.joinpath("table.json").write_text(json.dumps({"columns": ["cell", "score"], "rows": rows}))
          out.joinpath("table.md").write_text("")
          pathlib.Path(sys.argv[2], "scores.json").write_text(json.dumps({"accuracy": 0.75}))
        - '{outputs.t}'
        - '{outputs.s}'
      inputs: {all: 'folder[]'}
      outputs: {t: table, s: scores}
  bad:
    uses: command
    inputs: {s: table.s}
    with: {argv: [sh, -c, 'echo oh no >&2; exit 65'], inputs: {s: scores}, outputs: {o: folder}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a DAG whose last stage fails; each test may read what earlier ones left."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "dag.yaml").write_text(DAG)
    return folder
