"""The words of `usu bench`: old spellings, and names that stand in the registries."""

from __future__ import annotations

import re

import pytest

from usu import cli
from usu.bench.methods.registry import CONTESTANTS
from usu.bench.tables.registry import LAYOUTS
from usu.metrics.faithfulness import METRICS

RUN = ("bench", "run", "--data", "photographs", "--out", "results")


def help_of(capsys, *command):
    with pytest.raises(SystemExit):
        cli.main([*command, "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize(("old", "new"), [("--correct", "--only-correct"), ("--positive", "--clip-negative")])
def test_an_old_spelling_is_obeyed_and_told_about(old, new, capsys):
    parser = cli.build_parser()
    name = new[2:].replace("-", "_")
    assert getattr(parser.parse_args([*RUN]), name) is False
    assert getattr(parser.parse_args([*RUN, new]), name) is True
    assert capsys.readouterr().err == ""
    assert getattr(parser.parse_args([*RUN, old]), name) is True
    assert capsys.readouterr().err == f"usu: {old} is now {new}\n"
    text = help_of(capsys, "bench", "run")
    assert new in text
    assert old not in text


def test_help_names_every_upsampler_and_metric(capsys):
    text = help_of(capsys, "bench", "run")
    for name in (*CONTESTANTS, *METRICS):
        assert re.search(rf"[(\s]{name}[,)]", text), name


def test_help_explains_every_layout(capsys):
    text = help_of(capsys, "bench", "table")
    for name in LAYOUTS:
        assert re.search(rf"^  (\w+, )*{name}(, \w+)*  +\w", text, re.MULTILINE), name
