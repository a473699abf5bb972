"""Preflight against whatever an operator could write: no exception, no secret told, AWS asked only when all is right.

Each run draws other values; a failure prints PREFLIGHT_SEED, with which it comes again. PREFLIGHT_EXAMPLES draws more.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from plugins.action import mlflow_settings as action
from plugins.module_utils import mlflow_settings as rules
from plugins.plugin_utils import outside

ROOT = Path(__file__).resolve().parents[2]
SPEC: dict[str, Any] = yaml.safe_load((ROOT / "roles/preflight/meta/argument_specs.yml").read_text("utf-8"))[
    "argument_specs"
]["main"]["options"]
SEED = int(os.environ.get("PREFLIGHT_SEED") or secrets.randbelow(2**32))
EXAMPLES = int(os.environ.get("PREFLIGHT_EXAMPLES", "60"))
# Stands in every value that came out of a vault, and nowhere else.
MARK = "Zq9secretqZ"
SOUND = {"mlflow_stack_name": "team-a", "mlflow_region": "eu-west-1"}
Given = dict[str, Any]


@pytest.fixture(autouse=True)
def said() -> None:
    """Pytest shows it with a failure."""
    print(f"PREFLIGHT_SEED={SEED}")


def drawn(test: Callable[..., None]) -> Callable[..., None]:
    """A few examples, drawn with SEED, and nothing written to disk."""
    few = settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    decorated: Callable[..., None] = seed(SEED)(few(test))
    return decorated


TEXTS = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="0123456789./:-,[]{}\"' ", max_size=30),
    st.sampled_from(
        ["", " ", "\x00", "a\nb", "\u0661\u0662", "\u200b", "{{ nowhere }}", "{% if %}", "null", "~", "on", "0x10",
         "1e9",
         "9" * 5000, "x" * 70000, "[1,", "{", "0.0.0.0/0", "10.0.0.0/255.0.0.0", "::/0", "1/1", "\ud800", "None", "-1"]
    ),
)  # fmt: skip
SCALARS = st.one_of(
    TEXTS,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.integers(min_value=10**30),
    st.dates(),
    st.binary(max_size=5),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(TEXTS, st.integers(), st.none()), inner, max_size=4)
    ),
    max_leaves=6,
)


def likely(name: str) -> st.SearchStrategy[Any]:
    """Values that a setting may well take, as YAML has them or as a survey gives them."""
    option = SPEC[name]
    if option.get("choices"):
        one = st.sampled_from(option["choices"])
        return st.lists(one, max_size=3) if option["type"] == "list" else st.one_of(one, one.map(str))
    if option["type"] == "bool":
        return st.sampled_from([True, False, "true", "no", "1", 0])
    if option["type"] == "int":
        least, most, _ = rules.RANGES.get(name, (0, 20000, ""))
        number = st.integers(least, most)
        return st.one_of(number, number.map(str))
    if option["type"] == "dict":
        return st.dictionaries(st.text(min_size=1, max_size=9), st.one_of(st.text(max_size=9), st.none()), max_size=3)
    if option["type"] == "list":
        # Networks of any kind, and some with a mask.
        nets = st.builds(
            lambda n, p: str(ipaddress.IPv4Network((n, p), False)), st.integers(0, 2**32 - 1), st.integers(0, 32)
        )
        return st.lists(st.one_of(nets, nets.map(lambda one: ipaddress.IPv4Network(one).with_netmask)), max_size=3)
    return st.sampled_from(["10.42.0.0/16", "16", "mlflow.example.org", "https://a.example", "team-a", "eu-west-1"])


@st.composite
def configurations(draw: st.DrawFn, vaulted: bool = False) -> Given:
    """Raw variables of a host: sound ones, of which some are replaced by what is likely and by anything."""
    config: Given = dict(SOUND)
    for name in draw(st.lists(st.sampled_from(sorted(SPEC)), max_size=6, unique=True)):
        config[name] = draw(st.one_of(likely(name), ANYTHING))
    if draw(st.booleans()):
        config[f"mlflow_{draw(st.text(max_size=12))}"] = draw(ANYTHING)
    if vaulted:
        for name in draw(st.lists(st.sampled_from(sorted(SPEC)), min_size=1, max_size=3, unique=True)):
            around = [lambda text: text, lambda text: [text, {text: text}], lambda text: {text: [text]}]
            config[name] = rules.Hidden(draw(st.sampled_from(around))(draw(st.text(max_size=5)) + MARK))
    return config


@drawn
@given(configurations())
def test_every_problem_is_one_sentence(config: Given) -> None:
    _, problems = rules.settle(SPEC, config)
    for problem in problems:
        sentence = str(problem)
        assert sentence.endswith(".") and "\n" not in sentence and len(sentence) < 1000, sentence
        assert problem.variable in config or problem.variable in SPEC
        sentence.encode()


@drawn
@given(configurations())
def test_what_is_accepted_is_typed_and_accepted_again(config: Given) -> None:
    settled, problems = rules.settle(SPEC, config)
    if problems:
        return
    fact = rules.derive(settled)
    json.dumps(fact).encode()
    kinds = {"str": str, "int": int, "bool": bool, "list": list, "dict": dict}
    for name, option in SPEC.items():
        assert settled[name] is None or type(settled[name]) is kinds[option["type"]], name
    again, wrong = rules.settle(SPEC, dict(settled))
    assert (dict(again), wrong) == (dict(settled), [])
    for net in (
        fact["vpc_cidr"],
        *fact["allowed_cidrs"],
        *(cidr for pair in fact["subnets"].values() for cidr in pair),
    ):
        assert net == str(ipaddress.IPv4Network(net))
    assert rules.identity_problems(settled, {"account_id": "1" * 12, "partition": "aws"}) is not None


@drawn
@given(configurations(vaulted=True))
def test_what_came_out_of_a_vault_is_never_told(config: Given) -> None:
    _, problems = rules.settle(SPEC, config)
    assert MARK not in "".join(map(str, problems)) + "".join(map(repr, problems))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The regions in which AWS was asked who we are."""
    calls: list[str] = []
    identity = {"account_id": "123456789012", "partition": "aws"}
    monkeypatch.setattr(action, "identify", lambda region: calls.append(region) or (identity, []))
    monkeypatch.setattr(action, "deployed_before", lambda *_: None)
    monkeypatch.setattr(action.ActionModule, "_from_outside", lambda *_: [])
    monkeypatch.setattr(
        action.ActionModule, "_text", lambda *_: action.sys.executable if _[-1].endswith("er") else "local"
    )
    for name in ("login_problems", "endpoint_problems", "disk_problems"):
        monkeypatch.setattr(action, name, lambda *_: [])
    return calls


@drawn
@given(config=configurations())
def test_aws_is_asked_only_when_all_is_right(asked: list[str], config: Given) -> None:
    asked.clear()
    module = object.__new__(action.ActionModule)
    module._given = lambda _: (dict(config), [])
    fact, problems, _ = module._inspect({}, {})
    refused = bool(rules.settle(SPEC, config)[1])
    assert bool(problems) >= refused
    assert not (refused and asked)
    assert bool(fact) is not bool(problems)


@drawn
@given(st.dictionaries(TEXTS, ANYTHING, max_size=5))
def test_names_from_outside_are_compared_whatever_they_are(values: Given) -> None:
    named = {name: [outside.Given(value, "the inventory")] for name, value in values.items()}
    for problem in outside.problems(named, SPEC, ROOT, []):
        assert "\n" not in str(problem)
