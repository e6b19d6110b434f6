"""Ironic's own API tests (ironic-tempest-plugin) against a real leasehold.

Run with the Python of an environment that has what requirements.txt names; LEASEHOLD_BIN names the program. Starts it
on a fresh state folder on loopback, makes accounts with its own command line, runs the tests, and compares what was
skipped with skipped.txt: a skip that is not named there is a failure, as is a named one that ran.
Ends with "conformance: N passed, N failed".
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))

from service import PASSWORD, Service  # noqa: E402

TESTS = "ironic_tempest_plugin.tests.api"
# Below this something is missing, however green the rest is.
AT_LEAST = 430
TEST_LIMIT = 1500
# Accounts leak between classes of tests: nearly every class takes one of its own.
SYSTEM_ADMINS = 60
PROJECTS = 40


def accounts():
    """Every account: name, roles, and the project or None for the whole system."""
    for number in range(SYSTEM_ADMINS):
        yield f"system-admin-{number}", ["admin"], None
    for number in range(PROJECTS):
        for role in ("member", "reader"):
            yield f"system-{role}-{number}", [role], None
        # Some tests want all of these in one project.
        for role in ("admin", "manager", "member", "reader"):
            yield f"project-{role}-{number}", [role], f"project-{number}"


def in_files(url, folder):
    """tempest.conf and accounts.yaml for the service at this URL."""
    entries = []
    for name, roles, project in accounts():
        entry = {"username": name, "password": PASSWORD, "user_domain_name": "Default", "roles": roles}
        if project is None:
            entry["system"] = "all"
        else:
            entry |= {"project_name": project, "project_domain_name": "Default"}
        entries.append(entry)
    # JSON is YAML.
    (folder / "accounts.yaml").write_text(json.dumps(entries))
    (folder / "tempest.conf").write_text(f"""\
[DEFAULT]
log_file = {folder}/tempest.log
[oslo_concurrency]
lock_path = {folder}/locks
[auth]
test_accounts_file = {folder}/accounts.yaml
use_dynamic_credentials = false
[identity]
auth_version = v3
uri_v3 = {url}/identity/v3
region = RegionOne
[identity-feature-enabled]
api_v2 = false
[service_available]
ironic = true
neutron = true
nova = false
cinder = false
swift = false
glance = true
[enforce_scope]
ironic = true
[network]
shared_physical_network = false
[baremetal]
driver = fake-hardware
enabled_drivers = fake-hardware
enabled_hardware_types = fake-hardware,ipmi
enabled_bios_interfaces = fake
enabled_console_interfaces = fake,no-console
enabled_deploy_interfaces = fake
enabled_boot_interfaces = fake
max_microversion = latest
power_timeout = 60
""")


def results(text):
    """Outcome by test, from stestr's lines."""
    found = {}
    # A class that is skipped or fails as a whole is "setUpClass (NAME)".
    name = r"(?:\{\d+\} )?(setUpClass \(\S+\)|\S+?)(?:\[[^\]]*\])?(?: \[[\d.]+s\])?"
    pattern = re.compile(rf"^{name} \.\.\. (ok|FAILED|SKIPPED)(?:: (.*))?$", re.M)
    for name, outcome, reason in pattern.findall(text):
        found[name.removeprefix("setUpClass ").strip("()")] = (outcome, reason)
    return found


def expected_skips():
    """Tests that are skipped here, each with its reason."""
    named = {}
    for line in (HERE / "skipped.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, reason = line.split(None, 1)
            named[name] = reason
    return named


def judge(found, whole):
    """Prints what is wrong; the numbers passed and failed."""
    passed = [name for name, (outcome, _) in found.items() if outcome == "ok"]
    failed = [name for name, (outcome, _) in found.items() if outcome == "FAILED"]
    skipped = {name: reason for name, (outcome, reason) in found.items() if outcome == "SKIPPED"}
    wrong = len(failed)
    for name in failed:
        print(f"FAILED: {name}")
    if whole:
        named = expected_skips()
        for name in skipped.keys() - named.keys():
            wrong += 1
            print(f"skipped, and not named in skipped.txt: {name}: {skipped[name]}")
        for name in named.keys() - skipped.keys():
            wrong += 1
            print(f"named in skipped.txt, but not skipped: {name}")
        if len(passed) < AT_LEAST:
            wrong += 1
            print(f"only {len(passed)} passed, at least {AT_LEAST} are needed")
    for name, reason in sorted(skipped.items()):
        print(f"skipped: {name}: {reason}")
    return len(passed), wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for state and logs, kept")
    parser.add_argument("--only", default="", help="part of a test's name")
    options = parser.parse_args()
    program = os.environ["LEASEHOLD_BIN"]
    with tempfile.TemporaryDirectory(prefix="leasehold-conformance-") as temporary:
        folder = options.keep or pathlib.Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        # An empty policy file: the tests are about upstream's defaults.
        with Service(program, folder, policy="") as service:
            for name, roles, project in accounts():
                service.account(name, roles, project)
            in_files(service.url, folder)
            tempest = pathlib.Path(sys.executable).parent / "tempest"
            environment = os.environ | {"HOME": str(folder)}
            subprocess.run([tempest, "init", folder / "work"], check=True, capture_output=True, env=environment)
            pattern = TESTS + (f".*{re.escape(options.only)}" if options.only else "")
            command = [tempest, "run", "--config-file", folder / "tempest.conf", "--regex", pattern]
            command += ["--concurrency", "2"]
            how = {"cwd": folder / "work", "env": environment, "timeout": TEST_LIMIT}
            with open(folder / "tests.log", "w") as log:
                subprocess.run(command, stdout=log, stderr=log, **how)
            found = results((folder / "tests.log").read_text())
        passed, failed = judge(found, whole=not options.only)
    print(f"conformance: {passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
