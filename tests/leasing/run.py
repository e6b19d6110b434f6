"""A lease from offer to return by the unmodified clients, as owner, lessee, sublessee, stranger and administrator, on
nodes of the fake-hardware driver and under the shipped policy.

Run with the Python of an environment that has what ../clients/requirements.txt names; LEASEHOLD_BIN names the program.
Ends with "leasing: N passed, N failed".
"""

import datetime
import json
import pathlib
import re
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))

import lanes  # noqa: E402
from box import box  # noqa: E402
from commands import readme_people, run_block, tested_blocks  # noqa: E402

# Who: roles, and the project or None for the whole system.
PEOPLE = {
    "sys": (["admin"], None),
    "owner": (["member"], "owner"),
    "lessee": (["member"], "lessee"),
    "sublessee": (["member"], "sublessee"),
    "other": (["member"], "other"),
}
LONGEST_WAIT = 60
# What boots: a boot sector's mark.
DISK = bytes(510) + b"\x55\xaa" + bytes(1 << 20)


def until(clients, what, is_so):
    """Waits for this to be so, which is then counted."""
    deadline, seen = time.monotonic() + LONGEST_WAIT, None
    while time.monotonic() < deadline:
        is_there, seen = is_so()
        if is_there:
            break
    clients.count(what, is_there, json.dumps(seen, indent=1))


def lease_is(clients, who, lease, status):
    def look():
        shown = clients.ask(who, f"openstack esi lease show {lease}")
        return shown["status"] == status, shown

    until(clients, f"[{who}] the lease is {status}", look)


def node_is_back(clients, name):
    """The owner sees his node wiped, available and nobody's."""

    def look():
        node = clients.ask("owner", f"baremetal node show {name} --fields provision_state lessee last_error properties")
        back = node["provision_state"] == "available" and not node["lessee"] and not node["last_error"]
        return back and "lease_uuid" not in json.dumps(node["properties"]), node

    until(clients, f"{name} is back, wiped and available", look)
    history = clients.ask("owner", f"baremetal node history list {name} --long")
    events = [row["event"] for row in history]
    clients.count(f"{name} was taken back and wiped", '"hand-over" done' in events, str(events))


def claimed(clients, who, offer, **more):
    """The UUID of a lease that is claimed of an offer, by the offer's UUID as its name tells it."""
    options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in more.items())
    uuid = clients.ask(who, f"openstack esi offer show {offer}")["uuid"]
    lease = clients.ask(who, f"openstack esi offer claim {uuid} {options}")
    clients.count(f"[{who}] openstack esi offer claim {offer}", lease["status"] in ("created", "active"), str(lease))
    return lease["uuid"]


def traced(clients):
    now = datetime.datetime.now(datetime.UTC)
    for days in range(1, 41):
        day = (now + datetime.timedelta(days=days)).date()
        clients.names[f"in{days}"] = f"{day}T00:00:00"
    clients.table(HERE / "traced.txt")
    lease = claimed(clients, "lessee", "off2", start_time=clients.names["in28"])
    clients.expect("lessee", f"ok {lease}", "openstack esi lease list")


def deployed(clients):
    """Offer, claim, deployment by the bare-metal client, return; then somebody else has the node."""
    clients.expect("owner", "ok available", "openstack esi offer create n1 --name today")
    clients.expect("lessee", "refused could not be found", "baremetal node show n1")
    lease = claimed(clients, "lessee", "today")
    lease_is(clients, "lessee", lease, "active")
    clients.expect("lessee", f"ok {lease}", "openstack esi node list --long")
    clients.expect("lessee", f"ok {clients.names['lessee']}", "baremetal node show n1 --fields lessee")
    clients.expect("other", "refused could not be found", "baremetal node show n1")
    # Whose the node is, is what the lease says, whoever would have it otherwise.
    clients.expect("owner", "refused 409", "baremetal node set n1 --lessee $other")
    clients.expect("sys", "refused 409", "baremetal node delete n1")
    clients.expect("lessee", "ok", "baremetal node set n1 --instance-info image_source=disk")
    clients.expect("lessee", "ok", "baremetal node deploy n1 --wait 60")
    clients.expect("lessee", "ok active", "baremetal node show n1 --fields provision_state")
    clients.expect("other", "refused not found", f"openstack esi lease delete {lease}")
    clients.expect("lessee", "ok Deleted", f"openstack esi lease delete {lease}")
    lease_is(clients, "lessee", lease, "deleted")
    node_is_back(clients, "n1")
    clients.expect("lessee", "refused could not be found", "baremetal node show n1")
    for kind in ("fulfill.start", "fulfill.end", "delete.start", "delete.end"):
        command = f"openstack esi event list --event-type esi_leap.lease.{kind} --resource-uuid n1"
        for who in ("owner", "lessee"):
            clients.expect(who, f"ok {lease}", command)
    said = clients.ask("other", "openstack esi event list")
    clients.count("[other] is told of nobody's leases", said == [], str(said))
    second = claimed(clients, "other", "today")
    lease_is(clients, "other", second, "active")
    clients.expect("other", "ok available", "baremetal node show n1 --fields provision_state")
    # It is given back by its owner, too.
    clients.expect("owner", "ok Deleted", f"openstack esi lease delete {second}")
    node_is_back(clients, "n1")
    clients.expect("owner", "ok Deleted", "openstack esi offer delete today")


def let_on(clients):
    """The lessee lets on what is his; metalsmith deploys for the sublessee; the end of the lease above ends both."""
    lease = clients.ask("owner", "openstack esi lease create n1 lessee --name above")["uuid"]
    lease_is(clients, "lessee", lease, "active")
    clients.expect("lessee", "ok available", "openstack esi offer create n1 --name below --lessee sublessee")
    clients.expect("other", "refused not found", "openstack esi offer show below")
    under = claimed(clients, "sublessee", "below")
    lease_is(clients, "sublessee", under, "active")
    clients.expect("sublessee", "refused times already", "openstack esi offer create n1 --name deeper")
    clients.expect("sublessee", "ok", "openstack network create desk")
    clients.expect("sublessee", "ok", "openstack subnet create desk --network desk --subnet-range 10.30.0.0/24")
    clients.expect("sublessee", "ok", "baremetal port list")
    deploy = "metalsmith deploy --resource-class cpu --image disk --network desk --hostname web1"
    clients.expect("sublessee", "ok", deploy)
    clients.expect("sublessee", "ok web1", "metalsmith list")
    clients.expect("owner", "ok Deleted", f"openstack esi lease delete {lease}")
    for who, which in (("sublessee", under), ("lessee", lease)):
        lease_is(clients, who, which, "deleted")
    node_is_back(clients, "n1")
    clients.expect("sublessee", "refused could not be found", "baremetal node show n1")


def readme(clients):
    """What README.md tells an owner and a lessee of leases, word for word."""
    blocks = readme_people(clients, "box|olga-leases|lena-leases|box-leases")
    (clients.folder / "key.pub").write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9 lena\n")
    run_block(clients, *blocks[0])
    # Image and network are of the day before.
    _, before = tested_blocks("lena")[0]
    brought = re.findall(r"^openstack (?:image|network|subnet) create .*\n", before, re.M)
    run_block(clients, "lena", "".join(brought))
    for name, block in blocks[1:]:
        run_block(clients, name, block)
    if [name for name, _ in blocks] != ["box", "olga-leases", "lena-leases", "box-leases"]:
        clients.count("README.md has a day of leases", False, str([name for name, _ in blocks]))


def lives(clients):
    """What was traced, and leases from their begin to their end."""
    traced(clients)
    made = "openstack image create --disk-format raw --container-format bare --public --file $disk disk"
    clients.expect("sys", "ok", made)
    clients.expect("sys", "ok", "baremetal port create 52:54:00:00:00:01 --node n1")
    deployed(clients)
    let_on(clients)


if __name__ == "__main__":
    sys.exit(lanes.run("leasing", __doc__, PEOPLE, DISK, (lives, readme, box)))
