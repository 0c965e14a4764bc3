"""docs/reference.md is what the docstrings say."""

from hack.reference import PAGE, page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run `python -m hack.reference`"
