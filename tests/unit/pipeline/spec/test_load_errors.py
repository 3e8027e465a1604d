"""Every kind of mistake in a DAG file, with the whole message: place, path, what, and what to do."""

from pathlib import Path

import pytest

from tests.builders import problems

CUT = "  cut: {uses: ./toys.py:CUT}\n"
HEAD = f"name: t\nstages:\n{CUT}"
TRAIN = f"{HEAD}  a:\n    uses: ./toys.py:TRAIN\n    inputs: {{shards: cut.shards}}\n"
SEEDS = (
    f"{TRAIN}    with: {{steps: 1}}\n    matrix: {{seed: [1, 2]}}\n    seed: '${{matrix.seed}}'\n"
)
COPY = "{uses: command, with: {argv: [x], inputs: {i: folder}, outputs: {o: folder}}, inputs: {i: %s.o}}"
STAGE_KEYS = (
    "Keys: deepspeed, inputs, matrix, max_parallel, resources, retry, seed, timeout_seconds, uses, "
    "with."
)

FILE = {
    "syntax": (
        "name: t\nstages: {a: [}\n",
        (
            "dag.yaml:2:14: YAML syntax: expected the node content, but found '}' while parsing a flow "
            "node."
        ),
    ),
    "empty": ("", "dag.yaml:1:1: the file is empty. A DAG needs `name` and `stages`."),
    "list": ("- 1\n", "dag.yaml:1:1: should be a mapping. A DAG needs `name` and `stages`."),
    "duplicate_key": (
        f"{HEAD}{CUT}",
        "dag.yaml:4:3: stages.cut: the key stands twice; first in line 3. Remove one of them.",
    ),
    "unknown_key": (
        f"sed: 1\n{HEAD}",
        (
            "dag.yaml:1:1: sed: unknown key. Did you mean seed? "
            "Keys: name, params, profiles, seed, stages."
        ),
    ),
    "no_name": (
        f"stages:\n{CUT}",
        (
            "dag.yaml:1:1: name: this key is required. "
            "It is: letters, digits, _, . and -; names the DAG and its runs."
        ),
    ),
    "bad_name": (
        f"name: a/b\nstages:\n{CUT}",
        (
            'dag.yaml:1:7: name: should match ^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$, not "a/b". '
            "It is: letters, digits, _, . and -; names the DAG and its runs."
        ),
    ),
    "negative_seed": (
        f"seed: -1\n{HEAD}",
        "dag.yaml:1:7: seed: should be greater than or equal to 0, not -1.",
    ),
    "no_stages": (
        "name: t\n",
        (
            "dag.yaml:1:1: stages: this key is required. "
            "Write {NAME: {uses: KIND}}; `pipeline stages` lists the kinds."
        ),
    ),
    "empty_stages": (
        "name: t\nstages: {}\n",
        (
            "dag.yaml:2:1: stages: there are no stages. "
            "Write {NAME: {uses: KIND}}; `pipeline stages` lists the kinds."
        ),
    ),
    "stages_list": (
        "name: t\nstages: [1]\n",
        "dag.yaml:2:9: stages: should be a mapping, not [1].",
    ),
    "profiles_list": (
        f"{HEAD}profiles: [1]\n",
        "dag.yaml:4:11: profiles: should be a mapping, not a list.",
    ),
}

STAGE = {
    "scalar": (
        f"{HEAD}  a: 3\n",
        "dag.yaml:4:6: stages.a: should be a mapping, not 3. A stage needs `uses`.",
    ),
    "name": (
        "name: t\nstages:\n  a.b: {uses: ./toys.py:CUT}\n",
        (
            "dag.yaml:3:3: stages.a.b: a name takes letters, digits, _ and -, and begins with a letter "
            "or _."
        ),
    ),
    "unknown_key": (
        "name: t\nstages:\n  cut: {uses: ./toys.py:CUT, resource: {workers: 2}}\n",
        f"dag.yaml:3:30: stages.cut.resource: unknown key. Did you mean resources? {STAGE_KEYS}",
    ),
    "no_uses": (
        "name: t\nstages:\n  cut: {seed: 1}\n",
        (
            "dag.yaml:3:3: stages.cut.uses: this key is required. "
            "It is: the stage kind; `pipeline stages` lists them."
        ),
    ),
    "no_file": (
        "name: t\nstages:\n  cut: {uses: ./nope.py:CUT}\n",
        "dag.yaml:3:15: stages.cut.uses: nope.py cannot be read: No such file or directory.",
    ),
    "no_spec_in_file": (
        "name: t\nstages:\n  cut: {uses: ./toys.py:CUTT}\n",
        (
            "dag.yaml:3:15: stages.cut.uses: toys.py has no CUTT. Did you mean CUT? "
            "Stage kinds in it: CUT, GATHER, TRAIN."
        ),
    ),
    "not_a_spec": (
        "name: t\nstages:\n  cut: {uses: ./toys.py:NOT_A_KIND}\n",
        "dag.yaml:3:15: stages.cut.uses: toys.py:NOT_A_KIND is of type int, not a StageSpec.",
    ),
    "max_parallel_without_matrix": (
        "name: t\nstages:\n  cut: {uses: ./toys.py:CUT, max_parallel: 2}\n",
        (
            "dag.yaml:3:30: stages.cut.max_parallel: there is no matrix to limit. "
            "Remove it, or add a matrix."
        ),
    ),
    "no_attempts": (
        "name: t\nstages:\n  cut: {uses: ./toys.py:CUT, retry: {max_attempts: 0}}\n",
        "dag.yaml:3:52: stages.cut.retry.max_attempts: should be greater than 0, not 0.",
    ),
    "negative_timeout": (
        "name: t\nstages:\n  cut: {uses: ./toys.py:CUT, timeout_seconds: -1}\n",
        "dag.yaml:3:47: stages.cut.timeout_seconds: should be greater than 0, not -1.",
    ),
}

CONFIG = {
    "unknown_field": (
        f"{TRAIN}    with: {{steps: 1, global_batchsize: 3}}\n",
        (
            "dag.yaml:7:22: stages.a.with.global_batchsize: unknown field. "
            "Did you mean global_batch_size? "
            "Fields: corpus, dropout, global_batch_size, model, names, steps, verbose."
        ),
    ),
    "unknown_nested_field": (
        f"{TRAIN}    with: {{steps: 1, model: {{heads: 3}}}}\n",
        (
            "dag.yaml:7:30: stages.a.with.model.heads: unknown field. Did you mean num_heads? "
            "Fields: d_model, num_heads, preset."
        ),
    ),
    "unknown_field_in_a_free_mapping": (
        (
            f"{TRAIN}    with: {{steps: 1}}\n"
            "  ok: {uses: check, inputs: {scores: a.scores}, with: {loss: {mx: 2}}}\n"
        ),
        "dag.yaml:8:63: stages.ok.with.loss.mx: unknown field. Did you mean max? Fields: max, min.",
    ),
    "missing_field": (
        f"{TRAIN}    with: {{dropout: 0.2}}\n",
        "dag.yaml:7:5: stages.a.with.steps: this field is required. It is: optimizer updates.",
    ),
    "missing_with": (
        TRAIN,
        "dag.yaml:4:3: stages.a.with.steps: this field is required. It is: optimizer updates.",
    ),
    "text_for_int": (
        f"{TRAIN}    with: {{steps: many}}\n",
        'dag.yaml:7:19: stages.a.with.steps: should be a whole number, not "many".',
    ),
    "quoted_int": (
        f"{TRAIN}    with: {{steps: '10'}}\n",
        (
            'dag.yaml:7:19: stages.a.with.steps: should be a whole number, not "10". '
            "Remove the quotes."
        ),
    ),
    "float_for_int": (
        f"{TRAIN}    with: {{steps: 1e3}}\n",
        "dag.yaml:7:19: stages.a.with.steps: should be a whole number, not 1000.0. Write 1000.",
    ),
    "bool_for_int": (
        f"{TRAIN}    with: {{steps: true}}\n",
        "dag.yaml:7:19: stages.a.with.steps: should be a whole number, not true.",
    ),
    "yes_for_bool": (
        f"{TRAIN}    with: {{steps: 1, verbose: yes}}\n",
        (
            'dag.yaml:7:31: stages.a.with.verbose: should be true or false, not "yes". '
            "In YAML 1.2 only true and false are."
        ),
    ),
    "int_for_text": (
        f"{TRAIN}    with: {{steps: 1, names: [a, 2]}}\n",
        'dag.yaml:7:33: stages.a.with.names.1: should be a text, not 2. Quote it: "2".',
    ),
    "out_of_range": (
        f"{TRAIN}    with: {{steps: 0}}\n",
        "dag.yaml:7:19: stages.a.with.steps: should be greater than 0, not 0.",
    ),
    "literal": (
        f"{TRAIN}    with: {{steps: 1, model: {{preset: bas}}}}\n",
        "dag.yaml:7:38: stages.a.with.model.preset: should be 'tiny' or 'base', not \"bas\".",
    ),
    "validator": (
        f"{TRAIN}    with: {{steps: 1, model: {{d_model: 10}}}}\n",
        "dag.yaml:7:22: stages.a.with.model: d_model=10 is not a multiple of num_heads=4.",
    ),
    "with_nothing": (
        f"{TRAIN}    with:\n\n",
        "dag.yaml:7:5: stages.a.with: should be a mapping, not null.",
    ),
    "missing_source": (
        f"{TRAIN}    with: {{steps: 1, corpus: data/*.txt}}\n",
        (
            "dag.yaml:7:30: stages.a.with.corpus: there is no file data/*.txt. "
            "Relative paths start at the folder of the DAG file."
        ),
    ),
    "undeclared_placeholder": (
        "name: t\nstages:\n  a: {uses: command, with: {argv: [x, '{inputs.a}']}}\n",
        "dag.yaml:3:22: stages.a.with: {inputs.a} is not declared; inputs of this stage: none.",
    ),
    "output_without_schema": (
        "name: t\nstages:\n  a: {uses: command, with: {argv: [x], outputs: {o: shards}}}\n",
        (
            "dag.yaml:3:53: stages.a.with.outputs.o: say of which schema this output is, "
            "e.g. shards(tokens)."
        ),
    ),
}

RESOURCES = {
    "unknown": (
        "name: t\nstages:\n  cut: {uses: ./toys.py:CUT, resources: {worker: 2}}\n",
        (
            "dag.yaml:3:42: stages.cut.resources.worker: unknown key. Did you mean workers? "
            "Keys: cpus_per_process, disk, gpus_per_node, memory, nodes, processes_per_node, shm, "
            "workers."
        ),
    ),
    "no_nodes": (
        f"{TRAIN}    with: {{steps: 1}}\n    resources: {{nodes: 0}}\n",
        "dag.yaml:8:24: stages.a.resources.nodes: should be greater than 0, not 0.",
    ),
    "nodes_text": (
        f"{TRAIN}    with: {{steps: 1}}\n    resources: {{nodes: two}}\n",
        'dag.yaml:8:24: stages.a.resources.nodes: should be a whole number or a mapping, not "two".',
    ),
    "half_a_range": (
        f"{TRAIN}    with: {{steps: 1}}\n    resources: {{nodes: {{min: 2}}}}\n",
        "dag.yaml:8:17: stages.a.resources.nodes.max: this key is required.",
    ),
    "range_upside_down": (
        f"{TRAIN}    with: {{steps: 1}}\n    resources: {{nodes: {{min: 3, max: 2}}}}\n",
        "dag.yaml:8:17: stages.a.resources.nodes: min=3 is above max=2.",
    ),
    "memory": (
        f"{TRAIN}    with: {{steps: 1}}\n    resources: {{memory: lots}}\n",
        "dag.yaml:8:25: stages.a.resources.memory: not a size: 'lots'; write e.g. 4GiB.",
    ),
    "nodes_of_workers": (
        "name: t\nstages:\n  cut: {uses: ./toys.py:CUT, resources: {nodes: 2}}\n",
        (
            "dag.yaml:3:42: stages.cut.resources.nodes: toy.cut is a workers stage and has no use for "
            "nodes. Remove it; it is for gang and driver stages."
        ),
    ),
    "workers_of_a_gang": (
        f"{TRAIN}    with: {{steps: 1}}\n    resources: {{workers: 2}}\n",
        (
            "dag.yaml:8:17: stages.a.resources.workers: toy.train is a gang stage and has no use for "
            "workers. Remove it; it is for workers and driver stages."
        ),
    ),
    "deepspeed_without_training": (
        "name: t\nstages:\n  cut: {uses: ./toys.py:CUT, deepspeed: {zero_stage: 1}}\n",
        (
            "dag.yaml:3:30: stages.cut.deepspeed: toy.cut is a workers stage and does not train. "
            "Remove it; it is for gang stages."
        ),
    ),
    "batch": (
        (
            f"{TRAIN}    with: {{steps: 1, global_batch_size: 50}}\n"
            "    resources: {nodes: 2, processes_per_node: 2}\n"
        ),
        (
            "dag.yaml:7:41: stages.a.with.global_batch_size: 50 examples a step do not divide by "
            "4 ranks. Sizes that fit: 44, 48, 52, 56."
        ),
    ),
    "batch_of_an_elastic_gang": (
        f"{TRAIN}    with: {{steps: 1}}\n    resources: {{nodes: {{min: 1, max: 5}}}}\n",
        (
            "dag.yaml:4:3: stages.a.with.global_batch_size: 48 examples a step do not divide by each "
            "of 1, 2, 3, 4 and 5 ranks. Sizes that fit: 60, 120, 180, 240."
        ),
    ),
    "batch_and_micro_batch": (
        (
            f"{TRAIN}    with: {{steps: 1}}\n    deepspeed: {{micro_batch_size: 5}}\n"
            "    resources: {nodes: 2}\n"
        ),
        (
            "dag.yaml:4:3: stages.a.with.global_batch_size: 48 examples a step do not divide by "
            "2 ranks x micro_batch_size 5. Sizes that fit: 30, 40, 50, 60."
        ),
    ),
}

CONNECTIONS = {
    "cycle": (
        f"name: t\nstages:\n  a: {COPY % 'b'}\n  b: {COPY % 'c'}\n  c: {COPY % 'a'}\n",
        "dag.yaml:3:84: stages.a.inputs: a circle: a -> c -> b -> a. Remove one of these inputs.",
    ),
    "itself": (
        f"name: t\nstages:\n  a: {COPY % 'a'}\n",
        "dag.yaml:3:84: stages.a.inputs: a circle: a -> a. Remove one of these inputs.",
    ),
    "unknown_port": (
        (
            f"{TRAIN}    with: {{steps: 1}}\n"
            "  b: {uses: ./toys.py:GATHER, inputs: {scores: a.scores, score: a.scores}}\n"
        ),
        (
            "dag.yaml:8:58: stages.b.inputs.score: unknown input port. Did you mean scores? "
            "Input ports: scores."
        ),
    ),
    "unknown_stage": (
        f"{HEAD}  a: {{uses: ./toys.py:TRAIN, with: {{steps: 1}}, inputs: {{shards: cat.shards}}}}\n",
        (
            "dag.yaml:4:65: stages.a.inputs.shards: there is no stage 'cat'. Did you mean cut? "
            "Stages: a, cut."
        ),
    ),
    "unknown_output": (
        f"{HEAD}  a: {{uses: ./toys.py:TRAIN, with: {{steps: 1}}, inputs: {{shards: cut.shard}}}}\n",
        (
            "dag.yaml:4:65: stages.a.inputs.shards: cut has no output port 'shard'. "
            "Did you mean shards? Output ports: shards."
        ),
    ),
    "type_mismatch": (
        (
            f"{TRAIN}    with: {{steps: 1}}\n"
            "  b: {uses: ./toys.py:GATHER, inputs: {scores: a.checkpoint}}\n"
        ),
        (
            "dag.yaml:8:48: stages.b.inputs.scores: a.checkpoint is checkpoint(toy), and the port takes "
            "scores."
        ),
    ),
    "schema_mismatch": (
        (
            "name: t\nstages:\n  w: {uses: import, with: {source: ., kind: checkpoint(bert)}}\n"
            f"{CUT}  a: {{uses: ./toys.py:TRAIN, with: {{steps: 1}},\n"
            "      inputs: {shards: cut.shards, checkpoint: w.checkpoint}}\n"
        ),
        (
            "dag.yaml:6:48: stages.a.inputs.checkpoint: w.checkpoint is checkpoint(bert), and the port "
            "takes checkpoint(toy)."
        ),
    ),
    "no_port_named": (
        f"{HEAD}  a: {{uses: ./toys.py:TRAIN, with: {{steps: 1}}, inputs: {{shards: cut}}}}\n",
        (
            "dag.yaml:4:65: stages.a.inputs.shards: 'cut' is no output of a stage. "
            "Write STAGE.PORT, or STAGE[axis=value].PORT for a cell of a matrix."
        ),
    ),
    "list_for_one": (
        f"{HEAD}  a: {{uses: ./toys.py:TRAIN, with: {{steps: 1}}, inputs: {{shards: [cut.shards]}}}}\n",
        (
            "dag.yaml:4:65: stages.a.inputs.shards: takes one shards(tokens), not a list. "
            "Write one STAGE.PORT without brackets."
        ),
    ),
    "empty_list": (
        "name: t\nstages:\n  g: {uses: ./toys.py:GATHER, inputs: {scores: []}}\n",
        "dag.yaml:3:48: stages.g.inputs.scores: the list is empty. Connect at least one.",
    ),
    "missing_port": (
        f"{HEAD}  a: {{uses: ./toys.py:TRAIN, with: {{steps: 1}}}}\n",
        (
            "dag.yaml:4:3: stages.a.inputs.shards: this input is not connected. "
            "It takes shards(tokens); that is: cut.shards."
        ),
    ),
    "missing_port_nobody_offers": (
        "name: t\nstages:\n  g: {uses: ./toys.py:GATHER}\n",
        "dag.yaml:3:3: stages.g.inputs.scores: this input is not connected. No stage makes scores.",
    ),
    "whole_matrix_for_one": (
        (
            f"{SEEDS}  b:\n    uses: ./toys.py:TRAIN\n    with: {{steps: 1}}\n"
            "    inputs: {shards: cut.shards, checkpoint: a.checkpoint}\n"
        ),
        (
            "dag.yaml:13:46: stages.b.inputs.checkpoint: a.checkpoint is a list of 2, and the port "
            "takes one checkpoint(toy). Name a cell, e.g. a[seed=1].checkpoint."
        ),
    ),
    "unknown_cell": (
        f"{SEEDS}  g: {{uses: ./toys.py:GATHER, inputs: {{scores: 'a[seed=3].scores'}}}}\n",
        "dag.yaml:10:48: stages.g.inputs.scores: a has no cell with seed=3; values of seed: 1, 2.",
    ),
    "unknown_axis": (
        f"{SEEDS}  g: {{uses: ./toys.py:GATHER, inputs: {{scores: 'a[sed=2].scores'}}}}\n",
        (
            "dag.yaml:10:48: stages.g.inputs.scores: a has no axis 'sed'. Did you mean seed? "
            "Axes: seed."
        ),
    ),
    "cell_of_no_matrix": (
        f"{HEAD}  a: {{uses: ./toys.py:TRAIN, with: {{steps: 1}}, inputs: {{shards: 'cut[x=1].shards'}}}}\n",
        "dag.yaml:4:65: stages.a.inputs.shards: cut has no matrix; write cut without [x=1].",
    ),
}

MATRIX = {
    "unused_axis": (
        f"{TRAIN}    with: {{steps: 1}}\n    matrix: {{seed: [1, 2]}}\n",
        (
            "dag.yaml:8:14: stages.a.matrix.seed: no field of the stage uses ${matrix.seed}: its cells "
            'are all alike. Write for example `seed: "${matrix.seed}"`.'
        ),
    ),
    "unknown_axis": (
        f"{SEEDS}    timeout_seconds: ${{matrix.sed}}\n",
        (
            "dag.yaml:10:22: stages.a.timeout_seconds: ${matrix.sed}: there is no such axis. "
            "Did you mean seed? Axes: seed."
        ),
    ),
    "no_matrix": (
        f"{TRAIN}    with: {{steps: '${{matrix.steps}}'}}\n",
        "dag.yaml:7:19: stages.a.with.steps: ${matrix.steps}: there is no matrix here.",
    ),
    "not_a_mapping": (
        f"{TRAIN}    with: {{steps: 1}}\n    matrix: [1, 2]\n",
        (
            "dag.yaml:8:13: stages.a.matrix: should be a mapping from axis to a list of values, "
            "not [1, 2]. Write {seed: [1, 2, 3]}."
        ),
    ),
    "scalar_axis": (
        f"{TRAIN}    with: {{steps: 1}}\n    matrix: {{seed: 1}}\n",
        "dag.yaml:8:20: stages.a.matrix.seed: should be a list of values, not 1. Write [1, 2, 3].",
    ),
    "value_twice": (
        f"{TRAIN}    with: {{steps: 1}}\n    matrix: {{seed: [1, 1]}}\n",
        "dag.yaml:8:24: stages.a.matrix.seed.1: 1 stands twice.",
    ),
    "value_with_a_space": (
        f"{TRAIN}    with: {{steps: 1}}\n    matrix: {{seed: [a b]}}\n",
        (
            'dag.yaml:8:21: stages.a.matrix.seed.0: "a b" cannot stand in an address: no spaces and '
            "none of [ ] , =. Name it by a param."
        ),
    ),
    "list_as_value": (
        f"{TRAIN}    with: {{steps: 1}}\n    matrix: {{seed: [[1]]}}\n",
        (
            "dag.yaml:8:21: stages.a.matrix.seed.0: an axis takes numbers, texts, true and false, "
            "not a list."
        ),
    ),
    "too_many_cells": (
        (
            f"{TRAIN}    with: {{steps: 1}}\n"
            f"    matrix: {{a: {list(range(101))}, b: {list(range(100))}}}\n"
        ),
        "dag.yaml:8:13: stages.a.matrix: has 10100 cells; 10000 is the limit.",
    ),
}

REFERENCES = {
    "unknown_namespace": (
        f"{TRAIN}    with: {{steps: '${{stages.cut.x}}'}}\n",
        (
            "dag.yaml:7:19: stages.a.with.steps: ${stages.cut.x} is no reference. "
            "Write ${params.NAME}, ${matrix.NAME}, ${env.NAME}, or $${stages.cut.x} for the text itself."
        ),
    ),
    "shell_variable": (
        f"{TRAIN}    with: {{steps: 1, names: ['a${{HOME']}}\n",
        (
            "dag.yaml:7:30: stages.a.with.names.0: ${HOME is no reference. "
            "Write ${params.NAME}, ${matrix.NAME}, ${env.NAME}, or $${HOME for the text itself."
        ),
    ),
    "unknown_param": (
        f"params: {{steps: 1}}\n{TRAIN}    with: {{steps: '${{params.step}}'}}\n",
        (
            "dag.yaml:8:19: stages.a.with.steps: ${params.step}: there is no such param. "
            "Did you mean steps? Params: steps."
        ),
    ),
    "unknown_key_of_a_param": (
        f"params: {{m: {{steps: 1}}}}\n{TRAIN}    with: {{steps: '${{params.m.step}}'}}\n",
        (
            "dag.yaml:8:19: stages.a.with.steps: ${params.m.step}: there is no step. "
            "Did you mean steps? Keys: steps."
        ),
    ),
    "unset_variable": (
        f"{TRAIN}    with: {{steps: '${{env.STEPS}}'}}\n",
        (
            "dag.yaml:7:19: stages.a.with.steps: the environment has no variable STEPS. "
            "Run it with STEPS=... pipeline."
        ),
    ),
    "list_inside_a_text": (
        f"params: {{s: [1]}}\n{TRAIN}    with: {{steps: 1, names: ['x${{params.s}}']}}\n",
        (
            "dag.yaml:8:30: stages.a.with.names.0: ${params.s} is a list and cannot be part of a text. "
            "Let it stand alone."
        ),
    ),
    "wrong_type_behind_a_param": (
        f"params: {{steps: ten}}\n{TRAIN}    with: {{steps: '${{params.steps}}'}}\n",
        (
            "dag.yaml:1:17: stages.a.with.steps: should be a whole number, "
            'not "ten" (${params.steps}).'
        ),
    ),
    "circle": (
        f"params: {{a: '${{params.b}}', b: 'x${{params.a}}'}}\n{HEAD}",
        "dag.yaml:1:13: params.a: refers to itself: a -> b -> a.",
    ),
}

PROFILES = {
    "unknown_key": (
        f"{HEAD}profiles: {{laptop: {{strore: x}}}}\n",
        (
            "dag.yaml:4:21: profiles.laptop.strore: unknown key. Did you mean store? "
            "Keys: cluster, on, params.NAME, stages.STAGE.KEY, store."
        ),
    ),
    "nested_stages": (
        f"{HEAD}profiles: {{laptop: {{stages: {{}}}}}}\n",
        (
            "dag.yaml:4:21: profiles.laptop.stages: unknown key. "
            "Name the path of what changes, e.g. stages.NAME."
        ),
    ),
    "unknown_stage": (
        f"{HEAD}profiles: {{laptop: {{stages.cat.seed: 1}}}}\n",
        "dag.yaml:4:21: stages.cat.seed: there is no stage cat. Did you mean cut? Stages: cut.",
    ),
    "unknown_stage_key": (
        f"{HEAD}profiles: {{laptop: {{stages.cut.sed: 1}}}}\n",
        f"dag.yaml:4:21: stages.cut.sed: unknown key. Did you mean seed? {STAGE_KEYS}",
    ),
    "unknown_param": (
        f"params: {{steps: 1}}\n{HEAD}profiles: {{laptop: {{params.step: 1}}}}\n",
        "dag.yaml:5:21: params.step: there is no param step. Did you mean steps? Params: steps.",
    ),
}

CASES = {
    f"{group}-{name}": case
    for group, cases in {
        "file": FILE,
        "stage": STAGE,
        "config": CONFIG,
        "resources": RESOURCES,
        "connections": CONNECTIONS,
        "matrix": MATRIX,
        "references": REFERENCES,
        "profiles": PROFILES,
    }.items()
    for name, case in cases.items()
}


@pytest.mark.parametrize(("text", "message"), CASES.values(), ids=CASES.keys())
def test_load_one_mistake_gives_one_message(text: str, message: str, tmp_path: Path) -> None:
    assert problems(tmp_path, text) == [message]
