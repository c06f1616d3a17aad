from pathlib import Path

import pytest

from router_extproc.errors import ConfigurationError
from router_extproc.simulator import Faults, SimulatedDeployment, SimulatorConfig, load_config


def test_a_file_becomes_a_configuration(tmp_path: Path) -> None:
    """JSON keys are the fields of the types."""
    file = tmp_path / "providers.json"
    file.write_text('{"obey_header": true, "deployments": [{"name": "main", "models": ["a"], "faults": {"hang": "forever"}}]}')
    main = SimulatedDeployment(name="main", models=("a",), faults=Faults(hang="forever"))
    assert load_config(file) == SimulatorConfig(deployments=(main,), obey_header=True)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "truncated"),
        (b"\xff", "invalid"),
        (b"{}", "deployments"),
        (b'{"deployments": [{"name": "a", "colour": 1}]}', "colour"),
        (b'{"deployments": [{"name": "a", "port": 70000}]}', "port"),
        (b'{"deployments": [{"name": "a"}, {"name": "a"}]}', "same name"),
    ],
)
def test_a_wrong_file_is_refused_by_name_and_reason(tmp_path: Path, content: bytes, says: str) -> None:
    """The error names the file and what is wrong with it."""
    file = tmp_path / "providers.json"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        load_config(file)
    assert str(file) in str(caught.value)
    assert says in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A path that leads nowhere is a configuration error too."""
    with pytest.raises(ConfigurationError, match="No such file"):
        load_config(tmp_path / "nowhere.json")
