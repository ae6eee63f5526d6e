"""Compiles Python files to bytecode that is never checked against its source.

Reads lines `source TAB destination TAB name-in-the-image`, prints how many files are no valid Python.
Nothing of the machine gets into the output: no time, no path but the one given.
"""

import importlib.util
import marshal
import sys

UNCHECKED_HASH = b"\x01\x00\x00\x00"


def main() -> None:
    invalid = 0
    for line in sys.stdin.buffer.read().decode().split("\n"):
        if not line:
            continue
        source, destination, shown = line.split("\t")
        with open(source, "rb") as file:
            text = file.read()
        try:
            code = compile(text, shown, "exec", dont_inherit=True, optimize=0)
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
            invalid += 1
            continue
        head = importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + importlib.util.source_hash(text)
        with open(destination, "wb") as file:
            file.write(head + marshal.dumps(code))
    print(invalid)


main()
