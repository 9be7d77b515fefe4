"""Every command and every line of Python in the documentation works, from the top of a page to its end.

How-to guides and tutorials have files of their own, because a file is what the processes of the tests share out.
"""

import pytest
from support.snippets import Block, blocks_of, check_command, name_of, pages, run_page, run_python


@pytest.mark.parametrize("page", pages(without=("how-to", "tutorials")), ids=name_of)
def test_what_a_page_shows_works(page, folder):
    run_page(page)


class TestBlocks:
    def test_blocks_are_found_with_what_they_print(self):
        text = (
            "a\n\n```python\nprint(1)\n```\n\n```text\n1\n```\n\n- b\n\n    ```bash\n    dfq \\\n        env\n    ```\n"
        )
        first, second = blocks_of(text)
        assert first == Block("python", "print(1)\n", 4, "1\n")
        assert (second.language, second.line, [*second.commands()]) == ("bash", 14, ["dfq env"])

    def test_a_here_document_is_one_command(self):
        code = "cat > net.py <<'E'\nfrom torch import nn\nE\n\n# a comment\ndfq env  # and another\n"
        assert [*Block("bash", code, 1).commands()] == [code.partition("\n\n")[0], "dfq env  # and another"]

    def test_blocks_that_are_not_run_are_still_parsed(self):
        assert not Block("bash", "# not run in the tests\ndfq env\n", 1).is_run
        check_command("dfq quantize model.pt --bits 4 | tee log.txt  # a comment")
        for wrong in ("dfq quantise model.pt", "dfq quantize model.pt --bit-width 4", "dfq quantize"):
            with pytest.raises(AssertionError):
                check_command(wrong)

    def test_what_is_printed_must_be_what_stands_there(self):
        run_python(Block("python", "print('a', 1.25)", 1, "a …\n"), {}, "page.md")
        with pytest.raises(AssertionError, match="prints"):
            run_python(Block("python", "print('b')", 1, "a\n"), {}, "page.md")
