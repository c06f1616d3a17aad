"""Deployments written out."""

from __future__ import annotations

from router_extproc.config.deployments import configured_deployments
from router_extproc.config.load import parse_config


def test_names_keys_and_weights() -> None:
    """A deployment is named provider/model, with several keys one for each, and weights multiply."""
    config = parse_config("""\
providers:
  one: {base_url: https://one.example.com/v1, credentials: [{env: A}], models: [small]}
  two:
    base_url: https://two.example.com/v1
    credentials: [{env: B, weight: 2}, {name: spare, env: C}]
    models: ["wild/*"]
models:
  large:
    deployments:
      - {provider: two, model: large-2026, weight: 3}
      - {provider: one, name: favourite}
""")
    found = configured_deployments(config)
    assert [(each.name, each.provider_model, each.weight) for each in found] == [
        ("two/large@1", "large-2026", 6.0),
        ("two/large@spare", "large-2026", 3.0),
        ("favourite", "large", 1.0),
        ("one/small", "small", 1.0),
        ("two/wild/any@1", "wild/*", 2.0),
        ("two/wild/any@spare", "wild/*", 1.0),
    ]
    assert [each.credential.env if each.credential else None for each in found] == ["B", "C", "A", "A", "B", "C"]
    assert {each.group for each in found} == {"two/large", "favourite", "one/small", "two/wild/any"}


def test_a_provider_without_keys_is_one_deployment() -> None:
    """An own server needs no credential."""
    config = parse_config("providers: {own: {base_url: 'http://127.0.0.1:8000/v1', models: [m]}}\n")
    (only,) = configured_deployments(config)
    assert only.credential is None
    assert only.path == ("providers", "own", "models", 0)
