"""One reader of settings for all services: what has the wrong notation, is out of range or is no setting at all is refused by name."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest

from linklearner.domain.errors import InvalidConfig
from linklearner.settings import (
    AddressField,
    Between,
    HostPort,
    LogLevel,
    NodeUrls,
    OneOf,
    OneOfKinds,
    Settings,
    described,
)
from tools import settings_table


@dataclass(frozen=True, kw_only=True)
class Door(Settings):
    open_s: Annotated[float, Between(0.5, 60)] = 1.0


@dataclass(frozen=True, kw_only=True)
class Wall(Settings):
    height: Annotated[int, Between(1, 3)] = 2


@dataclass(frozen=True, kw_only=True)
class House(Settings):
    PREFIX: ClassVar = "HOUSE_"

    rooms: Annotated[int, Between(1, 64)] = 1
    lit: bool = False
    folder: Path = Path("here")
    name: str = ""
    listen: Annotated[str, HostPort(any_port=True)] = "127.0.0.1:0"
    peer: Annotated[str, HostPort(optional=True)] = ""
    nodes: Annotated[str, NodeUrls(optional=True)] = ""
    owner: Annotated[str, AddressField()] = ""
    colour: Annotated[str, OneOf(("red", "green"))] = "red"
    log_level: LogLevel = "info"
    front: Annotated[Door | Wall, OneOfKinds({"door": Door, "wall": Wall})] = Door()


def read(**given: str) -> House:
    return House.from_environment({f"HOUSE_{name.upper()}": text for name, text in given.items()})


def test_what_is_not_given_is_as_the_dataclass_says() -> None:
    assert House.from_environment({"PATH": "/bin", "HOUS_ROOMS": "x"}) == House()


def test_each_type_is_read_in_its_notation() -> None:
    nodes = "http://a:1,https://b"
    assert read(rooms="64", lit="TRUE", folder="/tmp", peer="a:1", nodes=nodes, owner="0x" + "ab" * 20) == House(
        rooms=64, lit=True, folder=Path("/tmp"), peer="a:1", nodes=nodes, owner="0x" + "ab" * 20
    )
    assert read(front="door", open_s="2.5e1").front == Door(open_s=25.0)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("rooms", "0", "HOUSE_ROOMS must be between 1 and 64, got 0"),
        ("rooms", "65", "HOUSE_ROOMS must be between 1 and 64, got 65"),
        ("rooms", "many", "HOUSE_ROOMS must be a whole number between 1 and 64, got 'many'"),
        ("rooms", "1_0", "HOUSE_ROOMS must be a whole number between 1 and 64, got '1_0'"),
        ("rooms", "\u0663", "HOUSE_ROOMS must be a whole number between 1 and 64"),
        ("rooms", "9" * 5000, "HOUSE_ROOMS must be a whole number between 1 and 64"),
        ("open_s", "0.4", "HOUSE_OPEN_S must be between 0.5 and 60, got 0.4"),
        ("open_s", "nan", "HOUSE_OPEN_S must be a number between 0.5 and 60, got 'nan'"),
        ("open_s", " 1", "HOUSE_OPEN_S must be a number between 0.5 and 60, got ' 1'"),
        ("open_s", "1e999", "HOUSE_OPEN_S must be between 0.5 and 60, got inf"),
        ("lit", "perhaps", "HOUSE_LIT must be true or false, got 'perhaps'"),
        ("colour", "blue", "HOUSE_COLOUR must be red or green, got 'blue'"),
        ("log_level", "loud", "HOUSE_LOG_LEVEL must be debug, info, warning or error, got 'loud'"),
        ("listen", "", "HOUSE_LISTEN"),
        ("peer", "a:0", "HOUSE_PEER"),
        ("nodes", "ws://x", "HOUSE_NODES must be an http:// or https:// URL"),
        ("owner", "0x12", "HOUSE_OWNER: '0x12' is not an address"),
        ("front", "gate", "HOUSE_FRONT must be door or wall, got 'gate'"),
        ("room", "1", "HOUSE_ROOM is no setting here; there are HOUSE_COLOUR, "),
    ],
)
def test_what_means_nothing_is_refused_by_name(name: str, text: str, sentence: str) -> None:
    with pytest.raises(InvalidConfig, match=re.escape(sentence)):
        read(**{name: text})


@pytest.mark.parametrize(("field", "value"), [("rooms", 65), ("listen", "x"), ("colour", "blue"), ("owner", "me")])
def test_a_value_made_in_code_is_held_to_the_same_rules(field: str, value: Any) -> None:
    with pytest.raises(InvalidConfig, match=field) as refused:
        House(**{field: value})
    assert refused.value.facts == {"setting": field}


def test_settings_of_a_kind_that_is_not_chosen_are_unknown() -> None:
    assert read(front="wall", height="3").front == Wall(height=3)
    with pytest.raises(InvalidConfig, match=r"HOUSE_OPEN_S is no setting here; there are .*HOUSE_HEIGHT"):
        read(front="wall", open_s="1")
    with pytest.raises(InvalidConfig, match="HOUSE_HEIGHT must be between 1 and 3"):
        read(front="wall", height="4")


def kinds(cls: type[Settings]) -> list[type[Settings]]:
    """With those that one of its fields may be."""
    found = [cls]
    for setting in described(cls):
        if isinstance(setting.rule, OneOfKinds):
            found += setting.rule.kinds.values()
    return found


SERVICES = [pytest.param(cls, id=name) for name, cls in settings_table.SERVICES]


@pytest.mark.parametrize("service", SERVICES)
def test_every_number_of_a_service_has_bounds_and_every_setting_a_docstring(service: type[Settings]) -> None:
    for cls in kinds(service):
        said = settings_table.documents(cls)
        for setting in described(cls):
            assert said[setting.name], setting.name
            if setting.kind in (int, float):
                assert setting.rule is not None, setting.name


@pytest.mark.parametrize("service", SERVICES)
def test_a_kinds_settings_have_names_of_their_own(service: type[Settings]) -> None:
    own, *others = kinds(service)
    names = {setting.name for setting in described(own)}
    for other in others:
        assert names.isdisjoint(setting.name for setting in described(other))


def test_the_table_of_settings_is_what_the_dataclasses_give() -> None:
    assert settings_table.main(["--check"]) == 0
