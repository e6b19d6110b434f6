"""What `leasehold offer|lease|reservation` say on the box itself: tables, JSON, exit codes."""

import json
import os
import subprocess
import time

LONGEST_WAIT = 60


class Box:
    """The program's own command line."""

    def __init__(self, clients):
        self.clients = clients
        socket = clients.service.state / "leasehold.sock"
        self.environment = {"PATH": os.environ["PATH"], "LEASEHOLD_SOCKET": str(socket)}

    def call(self, command):
        """Exit status, standard output, standard error."""
        program = str(self.clients.service.program)
        words = f"'{program}' {command}"
        done = subprocess.run(words, shell=True, env=self.environment, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    def expect(self, status, words, command):
        """The exit status is this, and the words stand where they belong; what was printed."""
        came, printed, said = self.call(command)
        right = came == status and words in (said if status else printed)
        self.clients.count(f"leasehold {command}: {status}", right, f"{came}\n{printed}\n{said}")
        return printed

    def ask(self, command):
        """The JSON that a command prints."""
        printed = self.expect(0, "", f"{command} -o json")
        return json.loads(printed)


def lease_is_active(here, uuid):
    """Waits for it."""
    deadline = time.monotonic() + LONGEST_WAIT
    while time.monotonic() < deadline:
        _, printed, _ = here.call(f"lease show {uuid} -o json")
        if json.loads(printed)["status"] == "active":
            break
    here.clients.count("the lease is active", json.loads(printed)["status"] == "active", printed)


def box(clients):
    """Offers, leases and reservations by whoever administers the box."""
    here = Box(clients)
    for node in ("n1", "n2"):
        made = f"--driver fake-hardware --name {node} --owner $owner --resource-class gpu"
        clients.expect("sys", "ok", f"openstack baremetal node create {made}")
    clients.expect("sys", "ok", "openstack baremetal node manage n1 n2 --wait 60")
    clients.expect("sys", "ok", "openstack baremetal node provide n1 n2 --wait 60")

    here.expect(0, "available", "offer create n1 --name spring --start 2090-01-01T00:00:00 --for 30d --property rack=3")
    here.expect(0, "2090-01-31T00:00:00", "offer show spring")
    table = here.expect(0, "spring", "offer list --class gpu").splitlines()
    clients.count("a table has a heading and a row", len(table) == 2 and table[0].startswith("UUID"), str(table))
    offers = here.ask("offer list --node n1")["offers"]
    whose = [(row["name"], row["project"], row["properties"]) for row in offers]
    clients.count("the offer is the owner's", whose == [("spring", "owner", {"rack": 3})], str(whose))
    here.expect(0, "NAME", "offer list --project lessee")

    lease = here.ask("lease claim spring --project lessee --name mine --start 2090-01-02T00:00:00 --for '2d 12h'")
    is_hers = (lease["project"], lease["end_time"]) == ("lessee", "2090-01-04T12:00:00")
    clients.count("the lessee has it", is_hers, str(lease))
    clients.expect("lessee", f"ok {lease['uuid']}", "openstack esi lease list")
    here.expect(1, "is leased", "lease claim spring --project other --start 2090-01-03T00:00:00 --for 1d")
    here.expect(0, "2090-01-05T12:00:00", "lease extend mine --for 1d")
    here.expect(0, "2090-01-03T00:00:00", "lease extend mine --end 2090-01-03T00:00:00")
    here.expect(0, "deleted", "lease return mine")
    here.expect(1, "not found", "lease return mine")
    here.expect(0, "deleted", f"lease show {lease['uuid']}")
    here.expect(0, lease["uuid"], "lease list --status any --owner owner")
    given = here.ask("lease create n2 lessee --purpose course --start 2090-01-01T00:00:00 --for 1d")
    clients.count("given without an offer", given["purpose"] == "course" and not given["offer_uuid"], str(given))

    here.expect(0, "available", "offer create n2 --start 2090-02-01T00:00:00")
    here.expect(0, "available", "offer create n1 --start 2090-02-01T00:00:00")
    when = "--start 2090-02-01T00:00:00 --for 1d"
    here.expect(1, "2 of 3 `gpu` free", f"reservation create 3:gpu --project lessee {when}")
    made = here.ask(f"reservation create 2:gpu --project lessee --name team {when}")
    group = made["uuid"]
    clients.count("a reservation has a lease for each", len(made["leases"]) == 2, str(made))
    here.expect(0, "team", "reservation list")
    here.expect(0, group, f"reservation show {group}")
    here.expect(0, "2090-02-03T00:00:00", f"reservation extend {group} --for 1d")
    here.expect(0, "deleted", f"reservation return {group}")
    here.expect(1, "not found", f"reservation show {group}")

    rows = here.ask("calendar --class gpu --from 2090-01-01T00:00:00 --to 2090-03-01T00:00:00")["nodes"]
    has_both = [row["node"] for row in rows] == ["n1", "n2"]
    clients.count("the calendar has both nodes", has_both, json.dumps(rows, indent=1))
    here.expect(0, "2090-02-01T00:00:00  never", "calendar --nodes n1 --from 2090-02-15T00:00:00")
    here.expect(1, "366 days", "calendar --from 2090-01-01T00:00:00 --to 2092-01-01T00:00:00")
    now = here.ask("lease create n1 lessee --for 1d --name now")
    lease_is_active(here, now["uuid"])
    usage = here.ask("usage --by project,owner,class,node")
    clients.count("usage has its parts", usage["by"] == ["class", "node", "owner", "project"], str(usage))
    here.expect(0, "as,day,project_id,project,offered_seconds", "usage -o csv")
    here.expect(0, "node-hours were offered", "usage --by day,class --owner owner")
    here.expect(1, "No project named nobody", "usage --project nobody")
    here.expect(2, "cannot be used with", "usage --project lessee --owner owner")
    here.expect(0, "now", "lease return now")

    here.expect(0, "deleted", "offer delete spring")
    here.expect(1, "not found", "offer show spring")
    here.expect(1, "No project named nobody", "lease claim spring --project nobody")
    here.expect(1, "no appliance answers", "offer list --socket /nonexistent.sock")
    for wrong in ("lease extend mine", "lease claim spring", "offer create n1 --for later", "reservation create 0:gpu"):
        here.expect(2, "", wrong)
    here.expect(2, "Usage", "lease")
