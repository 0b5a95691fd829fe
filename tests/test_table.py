from eva.table import Table


def test_a_table_in_markdown_and_html():
    table = Table(["a", "b"], [["1", "<2>"], ["3", "4"]], "said & done")
    assert str(table) == "| a | b |\n| --- | --- |\n| 1 | <2> |\n| 3 | 4 |\n\nsaid & done"
    html = table._repr_html_()
    assert html.count("<tr>") == 3
    assert "&lt;2&gt;" in html
    assert "said &amp; done" in html
    assert str(Table(["a"], [])) == "| a |\n| --- |"


def test_a_bar_in_a_cell_does_not_end_it():
    assert str(Table(["a | b"], [["1 1 | 2"]])) == "| a \\| b |\n| --- |\n| 1 1 \\| 2 |"
    assert "1 1 | 2" in Table(["a | b"], [["1 1 | 2"]])._repr_html_()
