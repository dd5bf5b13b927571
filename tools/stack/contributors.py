"""docker-compose.yml for another number of contributors than the three that it spells out.

Compose has no loops. The file marks what belongs to each contributor; what differs between the first and the second are numbers that rise
by one, and they go on rising for the others.
"""

import re

MARK = re.compile(r"^ *#: (contributor \d+|end)$")
SPELLED_OUT = 3
LIMIT = 20
"""Each contributor has a network of its own; an engine's address pools end at about thirty."""


class BadMarks(ValueError):
    """The marks or the numbers of the file do not follow the rule; the message names the line."""


def written_out(compose: str, contributors: int) -> str:
    """The file for so many contributors; for three it is the file itself. Raises Malformed, ValueError outside 1 to LIMIT."""
    if not 1 <= contributors <= LIMIT:
        raise ValueError(f"CONTRIBUTORS must be between 1 and {LIMIT}, got {contributors}")
    result: list[str] = []
    parts: list[list[str]] | None = None  # the marked lines of each contributor, while within a marked region
    for number, line in enumerate(compose.splitlines(keepends=True), 1):
        mark = MARK.match(line.rstrip("\n"))
        if mark is None:
            (result if parts is None else parts[-1]).append(line)
        elif mark[1] == "end":
            if parts is None or len(parts) != SPELLED_OUT:
                raise BadMarks(f"line {number}: an end without {SPELLED_OUT} contributors before it")
            first, second = "".join(parts[0]), "".join(parts[1])
            result += [_continued(first, second, index, number) for index in range(contributors)]
            result.append(line)
            parts = None
        else:
            parts = parts or []
            if mark[1] != f"contributor {len(parts) + 1}":
                raise BadMarks(f"line {number}: {mark[1]} where contributor {len(parts) + 1} is due")
            parts.append([line])
    if parts is not None:
        raise BadMarks("the file ends within a contributor")
    return "".join(result)


def _continued(first: str, second: str, index: int, line: int) -> str:
    """What stands for contributor `index`, from 0, in the row that `first` and `second` begin."""
    words, more = re.split(r"(\d+)", first), re.split(r"(\d+)", second)
    if words[::2] != more[::2]:
        raise BadMarks(f"the region that ends in line {line}: contributors 1 and 2 differ in more than numbers")
    for at in range(1, len(words), 2):
        step = int(more[at]) - int(words[at])
        if step not in (0, 1):
            raise BadMarks(f"the region that ends in line {line}: {words[at]} and {more[at]} do not rise by one")
        words[at] = str(int(words[at]) + index) if step else words[at]
    return "".join(words)
