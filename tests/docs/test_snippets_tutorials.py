"""Every command and every line of Python in docs/tutorials/ works."""

import pytest
from support.snippets import name_of, pages, run_page


@pytest.mark.parametrize("page", pages("tutorials"), ids=name_of)
def test_what_a_page_shows_works(page, folder):
    run_page(page)
