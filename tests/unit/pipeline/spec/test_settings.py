from pathlib import Path

from pipeline.spec.load import load_text
from pipeline.spec.settings import settings_of

TEXT = """\
name: toy
params: {word: hello}
stages:
  raw:
    uses: command
    with:
      argv: [echo, '${params.word}', '${env.TOKEN}', '{outputs.o}']
      env: {KEY: 'prefix ${env.TOKEN}'}
      outputs: {o: folder}
    retry: {max_attempts: 7}
"""


def _settings(sets: tuple[str, ...] = ()) -> dict[str, tuple[str, str]]:
    dag = load_text(
        TEXT, Path("/a/dag.yaml"), profile=None, values=(), sets=sets, environ={"TOKEN": "hunter2"}
    )
    return {path: (s.text, s.origin) for path, s in settings_of(dag.stages["raw"]).items()}


def test_settings_name_value_and_place() -> None:
    found = _settings()
    assert found["with.argv.0"] == ('"echo"', "file /a/dag.yaml:7")
    assert found["retry.max_attempts"] == ("7", "file /a/dag.yaml:10")
    assert found["resources.nodes"] == ("1", "default")
    assert _settings(("stages.raw.retry.max_attempts=9",))["retry.max_attempts"] == ("9", "--set")


def test_settings_of_the_environment_are_its_variables_names() -> None:
    found = _settings()
    assert found["with.argv.2"][0] == "${env.TOKEN}"
    assert "hunter2" not in str(found)
