"""Ansible with its collection for OpenStack, unmodified, in an environment of its own beside that of the other clients:
present.yaml and absent.yaml, each run twice, of which the second run changes nothing."""

import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
# Made by packaging/prepare; the collection needs an older openstacksdk than the other clients have.
ENVIRONMENT = pathlib.Path(sys.prefix).with_name("ansible")
LIMIT = 600
MEMBER = "ansel"


def run(clients, disk, password):
    """Both playbooks, and between them what the other clients see. `disk`: an image; `password`: of the user made."""
    clouds = clients.clouds()
    auth = clouds["lessee"]["auth"] | {"username": MEMBER, "password": password, "project_name": "playhouse"}
    clouds[MEMBER] = clouds["lessee"] | {"auth": auth}
    clients.write(clouds)
    people = {"operator": "sys", "owner": "owneradm", "member": MEMBER, "stranger": "other"}
    variables = people | {"disk": str(disk), "password": password}
    play(clients, "present", variables)
    for who in (MEMBER, "owner"):
        clients.expect(who, "ok active", "baremetal node show ansible1 --fields provision_state name")
    clients.expect("other", "refused could not be found", "baremetal node show ansible1")
    clients.expect(MEMBER, "refused 403", "baremetal node delete ansible1")
    clients.expect("sys", "ok CUSTOM_ANSIBLE", "baremetal deploy template list")
    copy = clients.folder / "ansible-copy.raw"
    status, said = clients.call(MEMBER, ["openstack", "image", "save", "ansible-image", "--file", str(copy)])
    same = status == 0 and copy.read_bytes() == disk.read_bytes()
    clients.count("Ansible's image is what was uploaded", same, said)
    play(clients, "absent", variables)
    clients.expect("sys", "refused could not be found", "baremetal node show ansible1")
    clients.expect("sys", "refused No Project", "openstack project show playhouse")
    clients.expect(MEMBER, "refused 401", "openstack image list")


def play(clients, name, variables):
    """A playbook, twice: all of it succeeds, the first time something changes and the second time nothing."""
    # Ansible refuses to start where the locale is not UTF-8.
    environment = {"ANSIBLE_HOME": str(clients.folder / "ansible"), "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"}
    environment |= {"ANSIBLE_LOCALHOST_WARNING": "false", "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false"}
    given = json.dumps(variables | {"ansible_python_interpreter": str(ENVIRONMENT / "bin" / "python")})
    program = str(ENVIRONMENT / "bin" / "ansible-playbook")
    command = [program, "-i", "localhost,", "-c", "local", "-e", given, str(HERE / f"{name}.yaml")]
    for again in (False, True):
        status, said = clients.call("", command, limit=LIMIT, **environment)
        recap = re.search(r"^localhost +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=0 ", said, re.M)
        right = status == 0 and recap is not None and (recap[1] == "0") == again
        clients.count(f"Ansible, {name}.yaml, {'again: nothing changes' if again else 'first'}", right, said)
