"""Registries: by name, with the names there are, and what came from outside."""

import pytest

from kdstudy.core.registry import Registry, is_outside


@pytest.fixture
def animals():
    """A registry of two functions, one of them of the package."""
    registry = Registry("animal", ", or a plant")

    @registry.register
    def horse(): ...

    def goose(): ...

    goose.__module__ = "kdstudy.farm"
    registry.register(goose)
    yield registry
    del Registry.every["animal"]


def test_an_entry_is_found_by_its_name_and_listed_in_order(animals):
    assert list(animals) == ["horse", "goose"] and animals["horse"].__name__ == "horse"
    assert Registry.every["animal"] is animals


def test_an_unknown_name_is_answered_with_those_there_are(animals):
    with pytest.raises(ValueError, match=r"^animal 'hors' is unknown; there are: horse, goose, or a plant; did you"):
        animals["hors"]
    with pytest.raises(ValueError, match="or a plant$"):
        animals["qqqq"]


def test_entries_of_other_modules_are_outside(animals):
    assert list(animals.outside()) == ["horse"]
    assert is_outside(pytest.raises) and not is_outside(Registry)


def test_a_name_of_the_package_is_not_taken_but_a_users_own_is_replaced(animals):
    def goose(): ...

    def horse(): ...

    with pytest.raises(ValueError, match="goose' is kdstudy's own"):
        animals.register(goose)
    animals.register(horse)
    assert animals["horse"] is horse
