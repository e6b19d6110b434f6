"""The unmodified command lines, asked for what a table or README.md says, and what came of it counted."""

import json
import os
import pathlib
import pty
import re
import shlex
import string
import subprocess
import sys
import time

from service import PASSWORD

COMMAND_LIMIT = 120
SERVICES = {"identity": "/v3", "baremetal": "", "network": "", "image": "", "lease": ""}
README = pathlib.Path(__file__).resolve().parent.parent.parent / "README.md"


class Clients:
    """The command lines, each as one of the people."""

    def __init__(self, service, folder, people):
        """`people`: who there is: their roles, and the project or None for the whole system."""
        self.service, self.folder, self.people = service, folder, people
        self.names = {}
        self.passed = self.failed = 0

    def clouds(self):
        """clouds.yaml: everybody by password, and by Basic authentication as NAME-basic."""
        clouds = {}
        overrides = {f"{name}_endpoint_override": f"{self.service.url}/{name}{path}" for name, path in SERVICES.items()}
        for name, (_, project) in self.people.items():
            auth = {"auth_url": f"{self.service.url}/identity/v3", "username": name, "password": PASSWORD}
            auth |= {"user_domain_name": "Default"}
            if project is None:
                auth["system_scope"] = "all"
            else:
                auth |= {"project_name": project, "project_domain_name": "Default"}
            clouds[name] = {"auth_type": "v3password", "auth": auth, "region_name": "RegionOne"}
            basic = {"username": name, "password": PASSWORD, "endpoint": f"{self.service.url}/baremetal"}
            clouds[f"{name}-basic"] = {"auth_type": "http_basic", "auth": basic} | overrides
        self.write(clouds)
        return clouds

    def write(self, clouds):
        # JSON is YAML.
        (self.folder / "clouds.yaml").write_text(json.dumps({"clouds": clouds}))

    def count(self, name, right, said):
        """Notes what came of a check."""
        if right:
            self.passed += 1
            print(f"           passed  {name}", flush=True)
        else:
            self.failed += 1
            print(f"           FAILED  {name}\n{said[-3000:]}", flush=True)

    def call(self, who, command, limit=COMMAND_LIMIT, **more):
        """Runs a client, of another environment by its path; its exit status and everything it says."""
        words = shlex.split(command) if isinstance(command, str) else command
        program = pathlib.Path(sys.executable).parent / words[0]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "OS_CLOUD": who}
        environment |= {"OS_CLIENT_CONFIG_FILE": str(self.folder / "clouds.yaml"), "PYTHONUNBUFFERED": "1"} | more
        how = {"env": environment, "cwd": self.folder, "capture_output": True, "text": True, "timeout": limit}
        # A terminal, as a user has: from anything else "openstack image create" takes the image.
        mine, theirs = pty.openpty()
        try:
            done = subprocess.run([program, *words[1:]], stdin=theirs, **how)
        finally:
            os.close(mine)
            os.close(theirs)
        return done.returncode, done.stdout + done.stderr

    def ask(self, who, command):
        """The JSON that a client prints."""
        status, said = self.call(who, f"{command} -f json")
        if status != 0:
            raise RuntimeError(f"[{who}] {command}: {said.strip()}")
        return json.loads(said)

    def expect(self, who, wanted, command):
        """Runs a client and compares what comes with what is wanted."""
        values = string.Template(command).safe_substitute(self.names)
        verb, _, words = string.Template(wanted).safe_substitute(self.names).partition(" ")
        begin = time.monotonic()
        if verb == "keep":
            values += " -f json"
        status, said = self.call(who, values)
        if verb == "keep":
            right = status == 0
            self.names[words] = json.loads(said)["id"] if right else ""
        else:
            right = (status == 0) == (verb == "ok") and words in said
        took = time.monotonic() - begin
        if right:
            self.passed += 1
            print(f"{took:7.1f} s  passed  [{who}] {command}", flush=True)
        else:
            self.failed += 1
            print(f"{took:7.1f} s  FAILED  [{who}] {command}", flush=True)
            print(f"  wanted: {wanted}\n  came: {status}: {said.strip()[-1500:]}", flush=True)

    def table(self, path):
        """Everything in a table of commands."""
        for line in path.read_text().splitlines():
            if line and not line.startswith("#"):
                self.expect(*(part.strip() for part in line.split("|", 2)))


def tested_blocks(name):
    """README.md's blocks whose names are so, in order: name and text."""
    text = README.read_text()
    return re.findall(rf"^<!-- tested: ({name}) -->\n```sh\n(.*?)^```$", text, re.M | re.S)


def readme_people(clients, name):
    """The blocks whose names are so, for which clouds.yaml has the people of README.md."""
    passwords = dict(re.findall(r"echo '([^']+)' \| leasehold account create (\w+)", README.read_text()))
    people = {name: password for password, name in passwords.items()}
    clouds = {}
    for who, project in {"olga": "lab", "lena": "students"}.items():
        auth = {"auth_url": f"{clients.service.url}/identity/v3", "username": who, "password": people[who]}
        auth |= {"user_domain_name": "Default", "project_name": project, "project_domain_name": "Default"}
        clouds[who] = {"auth_type": "v3password", "auth": auth, "region_name": "RegionOne"}
    clients.write(clouds)
    return tested_blocks(name)


def run_block(clients, name, block):
    """Does what a block says, as the person that it is named after, or on the box."""
    bin_folders = f"{pathlib.Path(sys.executable).parent}:{pathlib.Path(clients.service.program).resolve().parent}"
    environment = {"PATH": f"{bin_folders}:{os.environ['PATH']}", "HOME": str(clients.folder)}
    environment |= {"OS_CLIENT_CONFIG_FILE": str(clients.folder / "clouds.yaml")}
    environment["LEASEHOLD_SOCKET"] = str(clients.service.state / "leasehold.sock")
    who = name.partition("-")[0]
    if who in ("olga", "lena"):
        environment |= {"OS_CLOUD": who, "STUDENTS": clients.ask("lena", "openstack token issue")["project_id"]}
    how = {"cwd": clients.folder, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run(["bash", "-ex", "-c", block], **how)
    clients.count(f"README.md, {name}", done.returncode == 0, done.stdout + done.stderr)
