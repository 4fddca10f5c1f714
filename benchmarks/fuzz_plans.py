"""Plans with mistakes in them: the example plans, mutated; whatever is no plan has to be one sentence, at once.

python benchmarks/fuzz_plans.py --count 2000 --seed 0
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from meddel_hf.benchmark.plan import Plan
from meddel_hf.errors import MedDELError

PLANS = sorted((Path(__file__).parents[1] / "examples" / "plans").glob("*.yaml"))
SECONDS = 5.0
VALUES = (
    "", "~", "-1", "0", "1", "3", "20240101", "1e400", ".nan", ".inf", "-.inf", "9" * 5000, "0x" + "f" * 400,
    "1:30", "yes", "2024-01-01", "2024-01-01 10:00:00",
    "[]", "{}", "[1, 2, 3]", "[[[[[]]]]]", "{? [a, b] : c}", "{? {a: b} : c}",
    "{1: 2}", "{~: 1}", "!!set {a, b}", "!!binary aGVsbG8=", "!!omap [a: 1]", "!!pairs [a: 1]",
    "!!python/object:os.system x",
    "!!int x", "!!float x", "!!timestamp x", "!!str 5", "&a [*a]", "*nothing",
    "'\\ud800'", '"\\ud800"', '"\\0"', '"a\\nb"',
    "[" * 3000, "[" * 300 + "]" * 300, "{a: " * 300, "é漢字",
    "'", '"', "|", ">", "%", "@x", "`x`", "\t", "!!null ''",
    "a" * 300, "../../etc", "-0.0", "[0.5, 0.5]", "[.nan, .nan]", "[true]", "{kind: probe}", "1.5", "'1'", "1_000",
)  # fmt: skip


def mutated(draw: random.Random) -> bytes:
    lines = draw.choice(PLANS).read_text(encoding="utf-8").splitlines()
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        at = draw.randrange(len(lines))
        kind = draw.randrange(8)
        if kind <= 2 and ":" in lines[at]:
            spots = [i for i, character in enumerate(lines[at]) if character == ":"]
            spot = draw.choice(spots)
            end = min((i for i in map(lines[at].find, ",}", [spot] * 2) if i > 0), default=len(lines[at]))
            lines[at] = f"{lines[at][: spot + 1]} {draw.choice(VALUES)}{lines[at][end:] if draw.random() < 0.7 else ''}"
        elif kind == 3:
            lines.insert(at, lines[draw.randrange(len(lines))])
        elif kind == 4:
            del lines[at]
            lines = lines or [""]
        elif kind == 5:
            lines[at] = draw.choice((" ", "\t", "- ", "? ", "&x ", "<<: ")) + lines[at]
        elif kind == 6:
            lines.append(f"{draw.choice(('seeds', 'retentions', 'arms', 'tasks', 'pool', 'gate_level', 'name', 'x'))}: "
                         f"{draw.choice(VALUES)}")  # fmt: skip
        else:
            lines[at] = draw.choice(VALUES)
    content = bytearray("\n".join(lines).encode("utf-8", "surrogatepass"))
    if content and draw.random() < 0.15:
        content[draw.randrange(len(content))] = draw.randrange(256)
    return bytes(content)


def laughs() -> bytes:
    """Ten times ten times ten …: few bytes, and more values than any memory holds."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    return "\n".join(lines).encode()


def judged(content: bytes, path: Path) -> str | None:
    """What is wrong with how a plan was taken, or None."""
    path.write_bytes(content)
    began, error = time.monotonic(), None
    try:
        plan = Plan.load(path)
        plan.yaml().encode()
    except MedDELError as found:
        error = found
    except BaseException as found:
        return f"{type(found).__name__}: {' '.join(str(found).split())[:120]}"
    if time.monotonic() - began > SECONDS:
        return f"{time.monotonic() - began:.1f} s"
    if error is not None and (len(str(error)) > 1000 or "\n" in str(error)):
        return f"no sentence: {str(error)[:120]!r}"
    return None


def fuzz(count: int, seed: int, folder: Path) -> list[tuple[str, bytes]]:
    """What is wrong, and the plan."""
    draw, found = random.Random(seed), []
    for content in (laughs(), *(mutated(draw) for _ in range(count))):
        wrong = judged(content, folder / "plan.yaml")
        if wrong is not None:
            found.append((wrong, content))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        odd = fuzz(asked.count, asked.seed, Path(scratch))
    for what, content in odd:
        print(f"{what}\n    {content[:200]!r}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    kinds = dict(Counter(what.partition(":")[0] for what, _ in odd))
    print(f"{asked.count} plans, {len(odd)} without a sentence: {kinds}; {memory:.0f} MiB at most")
    sys.exit(bool(odd))
