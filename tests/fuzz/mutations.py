"""Changes of good inputs: of bytes, of values in JSON and YAML, and of lines of text."""

import copy
import json
import math
from random import Random
from typing import Any

import yaml

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
HEADER = 2048  # bytes at the beginning, which are changed more often than the others
DEPTH = 3000  # lists in one another
SURROGATE = "\ud83d"
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    7,
    -0.5,
    0.5,
    1e-320,
    1e308,
    math.nan,
    math.inf,
    -math.inf,
    10**9,
    2**31,
    2**63,
    10**30,
    10**400,
    "",
    " ",
    "abc",
    "1",
    "-1",
    "nan",
    "auto",
    "../../x",
    "/dev/zero",
    "/proc/self/mem",
    "a/b",
    "a\0b",
    "a\nb",
    "a\u2028b",
    "\x1b[31m",
    SURROGATE,
    "ü" * 300,
    "x" * 100_000,
    [],
    [[]],
    [1, 2],
    ["a", "b"],
    [None],
    {},
    {"a": 1},
    {"": None},
)


def change_bytes(data: bytes, random: Random, other: bytes = b"") -> bytes:
    """Apply 1 to 4 changes; ``other`` is a second file, of which parts are pasted."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        data = _change_bytes_once(data, random, other)
    return data


def _change_bytes_once(data: bytes, random: Random, other: bytes) -> bytes:
    if not data:
        return random.randbytes(64)
    limit = HEADER if random.random() < 0.5 else len(data)
    first = random.randrange(min(limit, len(data)))
    last = min(len(data), first + int(2 ** random.uniform(0, 12)))
    middle, before, after = data[first:last], data[:first], data[last:]
    kind = random.randrange(9)
    if kind == 0:  # single bytes
        changed = bytearray(data)
        for _ in range(random.choice((1, 3, 20))):
            changed[random.randrange(min(limit, len(data)))] = random.randrange(256)
        return bytes(changed)
    if kind == 1:
        width = random.choice((1, 2, 4, 8))
        number = random.choice(NUMBERS) % 256**width
        order = random.choice(("big", "little"))
        return before + number.to_bytes(width, order) + data[first + width :]
    if kind == 2:
        return before
    if kind == 3:
        return before + after
    if kind == 4:
        return before + middle * random.choice((2, 3, 50)) + after
    if kind == 5:
        return before + bytes(len(middle)) + after
    if kind == 6:
        return before + random.randbytes(len(middle)) + after
    if kind == 7:
        return before + other[first:] if other else after + before
    return data + (other or data)


def change_value(tree: Any, random: Random) -> Any:
    """Return a copy of a tree of dicts and lists in which one or two nodes are changed."""
    root = [copy.deepcopy(tree)]
    for _ in range(random.choice((1, 1, 2))):
        holder, key = _random_node(root, random)
        kind = random.random()
        if kind < 0.75:
            value = random.choice(ODD_VALUES)
            if isinstance(holder[key], (int, float)) and random.random() < 0.3:
                value = random.choice((-holder[key], str(holder[key]), holder[key] * 1_000_000))
            holder[key] = copy.deepcopy(value)
        elif kind < 0.82:
            holder[key] = [holder[key]]
        elif kind < 0.87:
            holder[key] = {"a": holder[key]}
        elif isinstance(holder, dict) and kind < 0.94:
            del holder[key]
        elif isinstance(holder, dict):
            name = random.choice(("abc", "", 1, True, None, 1.5, SURROGATE, f"{key}s"))
            holder[name] = holder.pop(key)
        elif len(holder) > 1 or holder is not root:
            holder.append(copy.deepcopy(holder[key]))
    return root[0]


def _random_node(root: list[Any], random: Random) -> tuple[Any, Any]:
    nodes: list[tuple[Any, Any]] = []
    stack: list[Any] = [root]
    while stack:
        holder = stack.pop()
        for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
            nodes.append((holder, key))
            if isinstance(holder[key], (dict, list)):
                stack.append(holder[key])
    return random.choice(nodes[1:] or nodes)  # the root itself is rarely worth it


def change_json(tree: Any, random: Random) -> bytes:
    """Write a changed tree as JSON, sometimes with changes that only the text can have."""
    tree = change_value(tree, random)
    text = json.dumps(tree, ensure_ascii=random.random() < 0.5, skipkeys=True)
    kind = random.randrange(24)
    if kind == 0:
        text = text.replace("1", "1e999", 1)
    elif kind == 1:
        text = text.replace("1", "9" * 5000, 1)
    elif kind == 2:
        text = text.replace(":", ": " + "[" * 100_000, 1)
    elif kind == 3:
        text = text.replace(":", ":" + "[" * DEPTH + "]" * DEPTH + ', "a":', 1)
    elif kind == 4:
        text = text[: random.randrange(len(text))]
    elif kind == 5 and text.startswith("{"):
        text = text[:-1] + ", " + text[1:]  # every key twice
    data = text.encode("utf-8", "surrogatepass")
    if kind == 6:
        data = text.encode("utf-16", "surrogatepass")
    elif kind == 7:
        data = b"\xef\xbb\xbf" + data
    elif kind == 8:
        data = change_bytes(data, random)
    return data


YAML_INSERTS = (
    "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "x: *i\n",
    "? [1, 2]\n: 3\n",
    "? {a: b}\n: 3\n",
    "x: !!python/object/apply:os.system [echo]\n",
    "x: !!binary aGFsbG8=\n",
    "x: 2020-01-01\n",
    "x: 2020-13-41\n",
    "x: !!int abc\n",
    "x: !!float [1]\n",
    "x: !!set {a, b}\n",
    "x: !!timestamp abc\n",
    "x: 1:99:99\n",
    "x: 0x\n",
    "x: 0b\n",
    "<<: 3\n",
    "<<: [a]\n",
    "x: *missing\n",
    "x: &x {y: *x}\n",
    "\t\n",
    "---\n",
    "...\n",
    "%TAG ! x\n",
    "\x00",
    "\x85",
    "x: " + "[" * DEPTH + "\n",
    "x: " + "{a: " * DEPTH + "\n",
    "x: " + "9" * 5000 + "\n",
    "x: 1e999\n",
)
YAML_VALUES = (
    *("0o17", "0x1F", "0x", ".nan", ".inf", "-.inf", "1_000", "1e5", "9e99999", "1:30"),
    *("~", "yes", "no", "on", "2020-01-01", "2001-01-01T25:00", "[[1]]", "{a: 1}", "&a *a"),
    *("'1'", '"\\ud800"', '"\\0"', "!!binary aGFsbG8=", "!!set {a}", "!!str 1", "!!int x"),
)


def change_yaml(tree: Any, random: Random) -> bytes:
    """Write a changed tree as YAML, sometimes with changes that only the text can have."""
    kind = random.random()
    if kind < 0.6:
        tree = change_value(tree, random)
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=random.random() < 0.5)
    if kind >= 0.6:
        lines = text.splitlines(keepends=True)
        at = random.randrange(len(lines))
        if kind < 0.75 and ":" in lines[at]:
            value = random.choice(YAML_VALUES)
            lines[at] = f"{lines[at].split(':')[0]}: {value}\n"
        elif kind < 0.85:
            key = random.choice(list(tree)) if isinstance(tree, dict) and tree else "x"
            rest = {name: value for name, value in tree.items() if name != key}
            text = yaml.safe_dump(rest, sort_keys=False) if rest else ""
            lines = [random.choice(YAML_INSERTS).replace("x:", f"{key}:"), text]
        elif kind < 0.9:
            lines.insert(random.randrange(len(lines)), lines[at])
        elif kind < 0.95:
            del lines[at]
        else:
            return change_bytes("".join(lines).encode("utf-8", "surrogatepass"), random)
        text = "".join(lines)
    return text.encode("utf-8", "surrogatepass")
