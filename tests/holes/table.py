"""The holes: what each changes in the program, and which tests must turn red then.

Each *.toml file beside this one is a group of them; its tables are the holes, by name:

    does    what the change is, in words
    tests   the attack tests that must fail, as MODULE::TEST below appliance/api/src/tests/attacks; a test of the engine
            is engine:: and its name there
    change  one or more substitutions: file, the old text (exact), the new one, and times, how often the old text is
            there (once, if it does not say)

In the new text OPEN stands for the question whether this hole is open in this run. Several holes at one place are put
in one after the other, so the new text must contain the old one there. A text of several lines may end with a line
break before its closing quotes: one is taken away.
"""

import dataclasses
import pathlib
import re
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
OPEN = re.compile(r"\bOPEN\b")
# The switch: in this crate, which all others use. It calls itself by its name, so that a hole looks the same anywhere.
LIBRARY = "appliance/domain/src/lib.rs"
SWITCH = """
extern crate self as leasehold_domain;

/// Whether this hole is open in this run.
pub fn is_open(hole: &str) -> bool {
    use std::sync::LazyLock;
    static OPEN: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("LEASEHOLD_HOLE").ok());
    OPEN.as_deref() == Some(hole)
}
"""


@dataclasses.dataclass
class Change:
    file: str
    old: str
    new: str
    times: int = 1


@dataclasses.dataclass
class Hole:
    name: str
    does: str
    tests: list[str]
    changes: list[Change]


def read():
    """All holes, and what is wrong with the table, a line each."""
    holes, wrong = {}, []
    for path in sorted(HERE.glob("*.toml")):
        for name, given in tomllib.loads(path.read_text()).items():
            if name in holes:
                wrong.append(f"{name}: there are two holes of this name")
            try:
                changes = [Change(**change) for change in given.pop("change")]
                holes[name] = Hole(name=name, changes=changes, **given)
            except (KeyError, TypeError) as error:
                wrong.append(f"{name}: {path.name} does not say it as it must be said: {error}")
                continue
            if not any(OPEN.search(change.new) for change in changes):
                wrong.append(f"{name}: no new text has OPEN, so the hole would always be open")
    return list(holes.values()), wrong


def puncture(source, holes):
    """Puts all holes into the source, behind the switch; what could not be put in, a line each."""
    wrong = []
    for hole in holes:
        for change in hole.changes:
            path, old, new = source / change.file, change.old.removesuffix("\n"), change.new.removesuffix("\n")
            if not path.is_file():
                wrong.append(f"{hole.name}: there is no file {change.file}")
                continue
            text = path.read_text()
            found = text.count(old)
            if found != change.times:
                first = old.strip().splitlines()[0].strip()
                wrong.append(f"{hole.name}: {change.file} has the old text {found} times, not {change.times}: {first}")
                continue
            new = OPEN.sub(f'leasehold_domain::is_open("{hole.name}")', new)
            path.write_text(text.replace(old, new))
    library = source / LIBRARY
    library.write_text(library.read_text() + SWITCH)
    return wrong
