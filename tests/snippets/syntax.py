#!/usr/bin/env python3
"""Reads code on stdin and says where it is none, for languages whose compiler is not here: python syntax.py go|java"""

import sys

import tree_sitter_go
import tree_sitter_java
from tree_sitter import Language, Parser

LANGUAGES = {"go": tree_sitter_go, "java": tree_sitter_java}


def mistakes(node):
    """The innermost nodes that are wrong."""
    if not node.has_error:
        return
    inner = [mistake for child in node.children for mistake in mistakes(child)]
    yield from inner or [node]


def main():
    parser = Parser(Language(LANGUAGES[sys.argv[1]].language()))
    tree = parser.parse(sys.stdin.buffer.read())
    found = [f"line {node.start_point.row + 1}: {node.text!r}" for node in mistakes(tree.root_node)]
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
