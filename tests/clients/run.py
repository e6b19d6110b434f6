"""The unmodified Python clients against a real leasehold with nodes of the fake-hardware driver.

Run with the Python of an environment that has what requirements.txt names; LEASEHOLD_BIN names the program.
Ends with "clients: N passed, N failed".
"""

import argparse
import json
import os
import pathlib
import pty
import re
import shlex
import string
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))

import playbook  # noqa: E402
import sdk  # noqa: E402
from service import PASSWORD, Service  # noqa: E402

COMMAND_LIMIT = 120
# Who: roles, and the project or None for the whole system.
PEOPLE = {
    "sys": (["admin"], None),
    "owner": (["member"], "owner"),
    "owneradm": (["admin"], "owner"),
    "lessee": (["member"], "lessee"),
    "lesseeadm": (["admin"], "lessee"),
    "other": (["member"], "other"),
}
SERVICES = {"identity": "/v3", "baremetal": "", "network": "", "image": "", "lease": ""}


class Clients:
    """The command lines, each as one of the people."""

    def __init__(self, service, folder):
        self.service, self.folder = service, folder
        self.names = {}
        self.passed = self.failed = 0

    def clouds(self):
        """clouds.yaml: everybody by password, and by Basic authentication as NAME-basic."""
        clouds = {}
        overrides = {f"{name}_endpoint_override": f"{self.service.url}/{name}{path}" for name, path in SERVICES.items()}
        for name, (_, project) in PEOPLE.items():
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


def without_credentials(clients):
    """auth_type none, at the place where whoever asks is the lessee."""
    url = clients.service.open_url
    clouds = clients.clouds()
    overrides = {f"{name}_endpoint_override": f"{url}/{name}{path}" for name, path in SERVICES.items()}
    clouds["open"] = {"auth_type": "none", "auth": {"endpoint": f"{url}/baremetal"}} | overrides
    public = {f"{name}_endpoint_override": f"{clients.service.url}/{name}" for name in ("baremetal", "image")}
    clouds["closed"] = {"auth_type": "none", "auth": {"endpoint": f"{clients.service.url}/baremetal"}} | public
    clients.write(clouds)
    for command in ("baremetal node list", "openstack baremetal node list"):
        clients.expect("open", "ok n1", command)
        clients.expect("closed", "refused 401", command)
    clients.expect("open", "ok", "metalsmith list")
    clients.expect("open", "ok lesseenet", "openstack network list")
    clients.expect("open", "ok", "openstack image list")
    # He is the lessee, and no more.
    clients.expect("open", "refused 403", "baremetal node maintenance set n1")
    by_environment = {"OS_AUTH_TYPE": "none", "OS_ENDPOINT": f"{url}/baremetal", "OS_CLOUD": ""}
    status, said = clients.call("", "baremetal node list", **by_environment)
    clients.count("OS_AUTH_TYPE=none, baremetal node list", status == 0 and "n1" in said, said)


def ways_in(clients):
    """Every way to authenticate that the clients know and the appliance takes."""
    url = clients.service.url
    clouds = clients.clouds()
    token = clients.ask("lessee", "openstack token issue")["id"]
    auth = {"auth_url": f"{url}/identity/v3", "token": token}
    project = {"project_name": "lessee", "project_domain_name": "Default"}
    clouds["lessee-token"] = {"auth_type": "v3token", "auth": auth | project, "region_name": "RegionOne"}
    made = clients.ask("lessee", "openstack application credential create robot")
    credential = {"auth_url": f"{url}/identity/v3", "application_credential_id": made["ID"]}
    credential["application_credential_secret"] = made["Secret"]
    clouds["lessee-robot"] = {"auth_type": "v3applicationcredential", "auth": credential, "region_name": "RegionOne"}
    clouds["lessee-wrong"] = {"auth_type": "http_basic", "auth": clouds["lessee-basic"]["auth"] | {"password": "wrong"}}
    clouds["lessee-wrong"]["baremetal_endpoint_override"] = f"{url}/baremetal"
    clients.write(clouds)
    for who in ("lessee-basic", "lessee-token", "lessee-robot"):
        clients.expect(who, "ok n1", "baremetal node list")
        clients.expect(who, "ok n1", "openstack baremetal node list")
    for who in ("lessee", "lessee-basic", "lessee-token", "lessee-robot"):
        clients.expect(who, "ok", "metalsmith list")
        clients.expect(who, "ok lesseenet", "openstack network list")
        clients.expect(who, "ok", "openstack image list")
    clients.expect("lessee-wrong", "refused 401", "baremetal node list")
    clients.expect("lessee", "ok", "openstack application credential delete robot")
    clients.expect("lessee-robot", "refused 401", "baremetal node list")


def readme(clients):
    """What README.md tells an owner and a lessee to do, word for word."""
    text = (HERE.parent.parent / "README.md").read_text()
    folder = clients.folder
    tested = re.findall(r"^<!-- tested: (\w+) -->\n```sh\n(.*?)^```$", text, re.M | re.S)
    passwords = dict(re.findall(r"echo '([^']+)' \| leasehold account create (\w+)", text))
    people = {name: password for password, name in passwords.items()}
    (folder / "key.pub").write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9 lena\n")
    projects = {"olga": "lab", "lena": "students"}
    clouds = {}
    for name, project in projects.items():
        auth = {"auth_url": f"{clients.service.url}/identity/v3", "username": name, "password": people[name]}
        auth |= {"user_domain_name": "Default", "project_name": project, "project_domain_name": "Default"}
        clouds[name] = {"auth_type": "v3password", "auth": auth, "region_name": "RegionOne"}
    clients.write(clouds)
    bin_folders = f"{pathlib.Path(sys.executable).parent}:{pathlib.Path(clients.service.program).resolve().parent}"
    environment = {"PATH": f"{bin_folders}:{os.environ['PATH']}", "HOME": str(folder)}
    environment |= {"OS_CLIENT_CONFIG_FILE": str(folder / "clouds.yaml")}
    environment["LEASEHOLD_SOCKET"] = str(clients.service.state / "leasehold.sock")
    for who, block in tested:
        if who in clouds:
            environment |= {"OS_CLOUD": who, "STUDENTS": clients.ask("lena", "openstack token issue")["project_id"]}
        done = subprocess.run(["bash", "-ex", "-c", block], cwd=folder, env=environment, capture_output=True, text=True)
        clients.count(f"README.md, {who}", done.returncode == 0, done.stdout + done.stderr)
    if len(tested) < 3:
        clients.failed += 1
        print("           FAILED  README.md has fewer than three tested blocks")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for state and logs, kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leasehold-clients-") as temporary:
        folder = options.keep or pathlib.Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with Service(os.environ["LEASEHOLD_BIN"], folder, open_as="lessee") as service:
            for name, (roles, project) in PEOPLE.items():
                service.account(name, roles, project)
            clients = Clients(service, folder)
            clients.clouds()
            # Who is asked for all projects sees them all.
            for row in clients.ask("sys", "openstack project list"):
                clients.names[row["Name"]] = row["ID"]
            disk = folder / "disk.raw"
            disk.write_bytes(sdk.image.disk())
            (service.import_folder / "disk.raw").write_bytes(disk.read_bytes())
            projects = dict(clients.names)
            clients.names["disk"] = str(disk)
            clients.table(HERE / "traced.txt")
            clients.table(HERE / "services.txt")
            ways_in(clients)
            without_credentials(clients)
            clients.clouds()
            sdk.run(clients, projects)
            playbook.run(clients, disk, PASSWORD)
            clients.clouds()
            readme(clients)
    print(f"clients: {clients.passed} passed, {clients.failed} failed")
    return 1 if clients.failed or not clients.passed else 0


if __name__ == "__main__":
    sys.exit(main())
