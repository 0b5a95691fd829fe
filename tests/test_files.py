import pytest

from eva.files import replace_section, replacing


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "page.txt"
    with replacing(path, "w") as file:
        file.write("one")

    def interrupted():
        with replacing(path, "w") as file:
            file.write("two")
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert path.read_text() == "one"
    assert [found.name for found in path.parent.iterdir()] == ["page.txt"], "no temporary file stays"


def test_a_section_is_replaced_and_the_rest_stays(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("before\n<!--a-->\nold\nlines\n<!--/a-->\n<!--b-->\nkept\n<!--/b-->\nafter\n")
    replace_section(path, "a", "new \\1\n")
    assert path.read_text() == "before\n<!--a-->\nnew \\1\n<!--/a-->\n<!--b-->\nkept\n<!--/b-->\nafter\n"
    with pytest.raises(ValueError, match=r"has no lines <!--c--> and <!--/c-->"):
        replace_section(path, "c", "x")
