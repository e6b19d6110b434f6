"""Opens a hole in the program for each attack, and sees that the attack's test turns red.

The holes are in the *.toml files here (table.py says how), the tests in appliance/api/src/tests/attacks and a few in
the engine. The program is never changed: the work tree is copied, all holes are put into the copy behind a switch
that is read when it runs, and the tests of the copy are built once. With no hole open all of them pass; with one open,
its tests fail, by what they themselves assert. A test without a hole is a failure, as is a hole whose place in the
program is not found.
Ends with "holes: N passed, N failed".
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import table

ROOT = pathlib.Path(__file__).resolve().parents[2]
API, ENGINE = "leasehold-api", "leasehold-engine"
ATTACKS = "tests::attacks::"
# Seconds for a test; the slowest takes some ten on two cores.
TEST_LIMIT = 180
# The copy is built into the project's own target folder, where what it depends on is built already. Cargo names what it
# builds by package, version and the place in the workspace: with the same version the copy's crates, holes and all,
# would take the places of the project's own.
VERSION_MARK = "+holes"


def copy_source(source):
    """The work tree, but for what git ignores. Written anew: cargo takes what is older than a build for built."""
    command = ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        place = source / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            shutil.copyfile(ROOT / name, place)


def mark_version(source):
    """Gives every crate of the copy a version of its own."""
    manifest = source / "Cargo.toml"
    text, count = re.subn(r'^(version = "[\d.]+)"$', rf'\1{VERSION_MARK}"', manifest.read_text(), flags=re.M)
    if count != 1:
        sys.exit(f"holes: {ROOT / 'Cargo.toml'} has {count} lines with the version of the workspace, not one")
    manifest.write_text(text)
    command = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    said = subprocess.run(command, check=True, cwd=source, stdout=subprocess.PIPE).stdout
    same = [package["name"] for package in json.loads(said)["packages"] if VERSION_MARK not in package["version"]]
    if same:
        sys.exit(f"holes: these crates do not take the version of the workspace: {', '.join(same)}")


def build(source, folder):
    """The tests of the copy, by crate: a program for each."""
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    # What incremental builds keep is only of use to who builds often.
    environment = os.environ | {"CARGO_TARGET_DIR": str(target), "CARGO_INCREMENTAL": "0"}
    command = ["cargo", "test", "-p", API, "-p", ENGINE, "--lib", "--no-run", "--message-format", "json"]
    with open(folder / "build.log", "w") as log:
        built = subprocess.run(command, cwd=source, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    messages = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
    if built.returncode:
        for message in messages:
            if message["reason"] == "compiler-message" and message["message"]["level"] == "error":
                print(message["message"]["rendered"], end="")
        print((folder / "build.log").read_text(), end="")
        sys.exit("holes: the program with the holes could not be built")
    made = {message["target"]["name"]: message["executable"] for message in messages if message.get("executable")}
    # Copies: Cargo's own are others as soon as somebody else builds.
    return {crate: pathlib.Path(shutil.copy(made[crate.replace("-", "_")], folder / crate)) for crate in (API, ENGINE)}


def attack_tests(program):
    """The names of all attack tests, as holes say them."""
    said = subprocess.run([program, "--list", "--format", "terse"], check=True, capture_output=True, text=True).stdout
    return re.findall(rf"^{ATTACKS}(\S+): test$", said, re.M)


def found_in(test):
    """The crate of a test and its name there."""
    inner = test.removeprefix("engine::")
    return (API, ATTACKS + test) if inner == test else (ENGINE, inner)


class Runs:
    """Runs one test at a time with one hole open, or none."""

    def __init__(self, programs, source, logs):
        self.programs = programs
        self.source = source
        self.logs = logs
        logs.mkdir()

    def run(self, test, hole=None):
        """What came of it: "green", "red", or what is wrong; and where it failed."""
        log = self.logs / f"{hole or 'closed'}-{test.replace('::', '-')}.log"
        environment = {name: value for name, value in os.environ.items() if name != "LEASEHOLD_HOLE"}
        environment |= {"LEASEHOLD_HOLE": hole} if hole else {}
        crate, name = found_in(test)
        command = [self.programs[crate], "--exact", name]
        with open(log, "w") as out:
            try:
                # Where cargo would run it.
                cwd = self.source / crate.replace("leasehold-", "appliance/")
                how = {"cwd": cwd, "env": environment, "timeout": TEST_LIMIT}
                subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **how)
            except subprocess.TimeoutExpired:
                return f"not over after {TEST_LIMIT} s", ""
        text = log.read_text(errors="replace")
        if not re.search(r"^running 1 test$", text, re.M):
            return "no such test", ""
        # A test runs on a thread of its own name; what panics elsewhere is not what it says.
        panic = re.search(rf"^thread '{name}' .*panicked at (\S+?):(\d+):\d+:$", text, re.M)
        where = f"{pathlib.Path(panic[1]).name}:{panic[2]}" if panic else ""
        if re.search(r"^test result: ok\. 1 passed", text, re.M):
            return "green", ""
        if not re.search(r"^test result: FAILED\. 0 passed; 1 failed", text, re.M):
            return "ended without a result", where
        if not panic or "tests" not in panic[1]:
            return f"failed, but not by what it asserts: {panic[1] if panic else 'no panic of its own'}", where
        return "red", where


class Count:
    """Says each outcome, and counts."""

    def __init__(self):
        self.passed = self.failed = 0

    def say(self, right, line):
        if right:
            self.passed += 1
        else:
            self.failed += 1
        print(line if right else f"FAILED: {line}", flush=True)


def together(run, pairs):
    """The outcomes of these runs, in their order, as many at a time as there are processors."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from zip(pairs, pool.map(lambda pair: run(*pair), pairs), strict=True)


def judge(runs, tests, holes, count, only):
    """Runs all; what is said of each is counted."""
    holed = {test for hole in holes for test in hole.tests}
    if not only:
        for test in sorted(set(tests) - holed):
            count.say(False, f"{test} has no hole: nothing shows that it can fail")
    wanted = [hole for hole in holes if only in hole.name]
    closed = {test: None for hole in wanted for test in hole.tests}
    for (test, _), (outcome, where) in together(runs.run, list(closed.items())):
        count.say(outcome == "green", f"no hole: {test}: {outcome} {where}".rstrip())
    does = {hole.name: hole.does for hole in wanted}
    opened = [(test, hole.name) for hole in wanted for test in hole.tests]
    for (test, hole), (outcome, where) in together(runs.run, opened):
        right = outcome == "red"
        count.say(right, f"{hole}: {test}: {outcome} {where}".rstrip() + ("" if right else f" (open: {does[hole]})"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the copy and the logs, kept")
    parser.add_argument("--only", default="", help="part of a hole's name")
    options = parser.parse_args()
    count = Count()
    holes, wrong = table.read()
    with tempfile.TemporaryDirectory(prefix="leasehold-holes-", dir="/var/tmp") as temporary:
        folder = (options.keep or pathlib.Path(temporary)).resolve()
        source = folder / "source"
        copy_source(source)
        wrong += table.puncture(source, holes)
        for line in wrong:
            count.say(False, line)
        if not wrong:
            mark_version(source)
            programs = build(source, folder)
            runs = Runs(programs, source, folder / "logs")
            judge(runs, attack_tests(programs[API]), holes, count, options.only)
    print(f"holes: {count.passed} passed, {count.failed} failed")
    return 1 if count.failed or not count.passed else 0


if __name__ == "__main__":
    sys.exit(main())
