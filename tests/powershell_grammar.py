"""What is wrong with lines of PowerShell, as its grammar sees them; and what only PowerShell 7 takes."""

import re

import pytest

_NOT_IN_5 = {
    r"&&|\|\|": "joins commands by && or ||, which Windows PowerShell 5.1 does not know",
    r"\\$": "ends with a backslash, which continues no line",
    r"^\s*export ": "sets a variable as shells of Unix do",
    r"^\s*[A-Z_]+=\S* +\S": "sets a variable for one command, as shells of Unix do",
}


def faults(text):
    """What is wrong with commands, `line: why`; a name in angle brackets stands for one of the reader's."""
    tree_sitter = pytest.importorskip("tree_sitter")
    grammar = pytest.importorskip("tree_sitter_powershell")
    text = re.sub(r"<(\w+)>", r"\1", text)
    lines = enumerate(text.splitlines(), 1)
    found = [f"{n}: {why}" for n, line in lines for form, why in _NOT_IN_5.items() if re.search(form, line)]
    text = re.sub(r"(?<!\S)--(?=\w)", "", text)  # in --fp16 the grammar sees the operator -f
    left = [tree_sitter.Parser(tree_sitter.Language(grammar.language())).parse(text.encode()).root_node]
    while left:
        node = left.pop()
        left += node.children
        # the grammar wants a space beside a comma between words, PowerShell does not
        if node.is_error or (node.is_missing and node.type != " "):
            found.append(f"{node.start_point[0] + 1}: {node.text.decode() or node.type}")
    return found
