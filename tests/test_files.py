import os
import stat

import pytest

from eva.files import append_json, read_json, replace_section, replacing


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


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002, 0o027])
def test_a_new_file_has_the_permissions_that_open_would_give_it(tmp_path, umask):
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "ours") as file:
            file.write(b"x")
        (tmp_path / "plain").write_bytes(b"x")
    finally:
        os.umask(before)
    assert mode(tmp_path / "ours") == mode(tmp_path / "plain") == 0o666 & ~umask


@pytest.mark.parametrize("permissions", [0o600, 0o664, 0o755])
def test_a_file_that_was_there_keeps_its_permissions(tmp_path, permissions):
    path = tmp_path / "page.txt"
    path.write_text("old")
    path.chmod(permissions)
    with replacing(path, "w") as file:
        file.write("new")
    assert (path.read_text(), mode(path)) == ("new", permissions)


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("steps", [1, 2])
def test_a_symbolic_link_stays_one_and_what_it_points_to_is_replaced(tmp_path, exists, steps):
    target = tmp_path / "elsewhere" / "model.pt"
    target.parent.mkdir()
    if exists:
        target.write_text("old")
    link = target
    for step in range(steps):
        link, before = tmp_path / f"link-{step}", link
        link.symlink_to(before)
    with replacing(link, "w") as file:
        file.write("new")
    assert link.is_symlink()
    assert (link.read_text(), target.read_text()) == ("new", "new")
    assert [found.name for found in target.parent.iterdir()] == ["model.pt"]


def test_lines_of_json_are_added_and_read_and_bad_ones_named(tmp_path, caplog):
    path = tmp_path / "new" / "lines.jsonl"
    assert read_json(path) == []
    append_json(path, {"a": 1})
    path.write_text(path.read_text() + '{"cut')
    append_json(path, {"b": [2]})

    def check(value):
        if "b" in value:
            raise ValueError("b is not wanted")

    assert read_json(path) == [{"a": 1}, {"b": [2]}]
    caplog.clear()
    assert read_json(path, check) == [{"a": 1}]
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "lines.jsonl, line 2 is left out",
        "lines.jsonl, line 3 is left out",
    ]


def test_a_section_is_replaced_and_the_rest_stays(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("before\n<!--a-->\nold\nlines\n<!--/a-->\n<!--b-->\nkept\n<!--/b-->\nafter\n")
    replace_section(path, "a", "new \\1\n")
    assert path.read_text() == "before\n<!--a-->\nnew \\1\n<!--/a-->\n<!--b-->\nkept\n<!--/b-->\nafter\n"
    with pytest.raises(ValueError, match=r"has no lines <!--c--> and <!--/c-->"):
        replace_section(path, "c", "x")
