"""Every command of README, CONTRIBUTING and the documentation names something that is there, and parses."""

import argparse
import re
import shlex
import sys
from importlib import import_module
from pathlib import Path

import pytest

from usu.cli import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
STANDS_FOR = {"COMMAND": "explain", "WHAT": "table5"}


def commands(text):
    """Give each command of a page as (words, whether it stands in a sentence, not in a block of code)."""
    text = text.replace("\\\n", " ")
    shown = "\n".join(match[3] for match in FENCED.finditer(text) if match[2] in ("", "sh"))
    text = FENCED.sub("", text)
    shown += "\n" + "\n".join(re.findall(r"^ {4}(.*)", text, re.MULTILINE))
    for line in shown.splitlines():
        for part in line.split(" && "):
            yield from ((words, False) for words in read(part))
    for part in re.findall(r"`([^`]+)`", text):
        yield from ((words, True) for words in read(part))


def read(part):
    """Give the words of `usu ...` and `python ...`, but for variables and comments; none if some lack."""
    part = re.sub(r"^(?:\w+=\S+ )+", "", " ".join(part.split()))
    if re.match(r"(?:usu|python) \S", part) and not part.endswith(" ..."):
        words = shlex.split(re.sub(r"\.\.\.$|[\[\]]", "", part), comments=True)
        yield [STANDS_FOR.get(word, word) for word in words]


FOUND = sorted({(tuple(words), text) for page in PAGES for words, text in commands(page.read_text("utf-8"))})


def of(kind):
    return [pytest.param(list(words), text, id=" ".join(words)) for words, text in FOUND if kind(words)]


@pytest.mark.parametrize(("words", "in_text"), of(lambda words: words[0] == "usu"))
def test_usu_parses(words, in_text, monkeypatch):
    parse(lambda: main(words[1:]), words[1:], monkeypatch, in_text)


@pytest.mark.parametrize(("words", "in_text"), of(lambda words: words[:2] == ("python", "-m")))
def test_module_is_there_and_its_arguments_parse(words, in_text, monkeypatch):
    name, *arguments = words[2:]
    package = import_module(name)
    module = import_module(f"{name}.__main__") if hasattr(package, "__path__") else package
    if "parse_args" not in Path(module.__file__).read_text(encoding="utf-8"):
        assert arguments == []
        return
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    parse(module.main, arguments, monkeypatch)


@pytest.mark.parametrize(
    ("words", "in_text"), of(lambda words: words[0] == "python" and words[1].endswith(".py"))
)
def test_script_is_there(words, in_text):
    assert (ROOT / words[1]).is_file()


class ParsedError(Exception):
    """The arguments were understood; nothing more is to run."""


def parse(run, words, monkeypatch, in_text=False):
    """Run a command until its arguments are parsed; in a sentence, it may be named without them."""
    original = argparse.ArgumentParser.parse_args

    def parse_args(parser, *given):
        if not (in_text and is_named(parser, words)):
            original(parser, *given)
        raise ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    with pytest.raises((ParsedError, SystemExit)) as ended:
        run()
    assert getattr(ended.value, "code", 0) == 0


def is_named(parser, words):
    """Tell whether the words are a command, such as `bench run`, and at most the name of an option of it."""
    for number, word in enumerate(words):
        commands = [one.choices for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
        if not commands or word not in commands[0]:
            return len(words) == number + 1 and word in parser._option_string_actions
        parser = commands[0][word]
    return True


def test_what_is_wrong_is_found(monkeypatch):
    page = "Run `usu check --loud`, or\n\n    usu explain a.png --target\n\n```sh\nA=1 python -m b.c D\n```\n"
    assert sorted(commands(page)) == [
        (["python", "-m", "b.c", "D"], False),
        (["usu", "check", "--loud"], True),
        (["usu", "explain", "a.png", "--target"], False),
    ]
    for words in (
        ["check", "--loud"],
        ["explain", "a.png", "--target"],
        ["bench", "walk"],
        ["explain", "--out"],
    ):
        with pytest.raises(AssertionError), monkeypatch.context() as patched:
            parse(lambda words=words: main(words), words, patched, in_text=words[0] != "explain")


def test_the_two_commands_of_the_readme_are_what_ci_runs():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for command in ("pip install '.[demo]' && usu demo", "pip install '.[test]' && pytest"):
        assert f"\n    {command}\n" in readme
        assert f"\n{command} || exit\n" in ci


def test_nothing_is_installed_from_where_it_is_not_published():
    pages = [*PAGES, *sorted((ROOT / "docs").rglob("*.ipynb"))]
    wrong = {page.name for page in pages if re.search(r"pip install '?usu", page.read_text(encoding="utf-8"))}
    assert not wrong
