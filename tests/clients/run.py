"""The unmodified Python clients against a real leasehold with nodes of the fake-hardware driver.

Run with the Python of an environment that has what requirements.txt names; LEASEHOLD_BIN names the program.
Ends with "clients: N passed, N failed".
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))

import lanes  # noqa: E402
import playbook  # noqa: E402
import sdk  # noqa: E402
from commands import SERVICES, readme_people, run_block  # noqa: E402
from service import PASSWORD  # noqa: E402

# Who: roles, and the project or None for the whole system.
PEOPLE = {
    "sys": (["admin"], None),
    "owner": (["member"], "owner"),
    "owneradm": (["admin"], "owner"),
    "lessee": (["member"], "lessee"),
    "lesseeadm": (["admin"], "lessee"),
    "other": (["member"], "other"),
}


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
    tested = readme_people(clients, r"\w+")
    (clients.folder / "key.pub").write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9 lena\n")
    for who, block in tested:
        run_block(clients, who, block)
    if len(tested) < 3:
        clients.failed += 1
        print("           FAILED  README.md has fewer than three tested blocks")


def tables(clients):
    """What the command lines do, by every way in."""
    clients.table(HERE / "traced.txt")
    clients.table(HERE / "services.txt")
    ways_in(clients)
    without_credentials(clients)


def programs(clients):
    """What programs do, and what README.md says."""
    disk = pathlib.Path(clients.names["disk"])
    projects = {name: clients.names[name] for _, name in PEOPLE.values() if name is not None}
    sdk.run(clients, projects)
    playbook.run(clients, disk, PASSWORD)
    clients.clouds()
    readme(clients)


if __name__ == "__main__":
    sys.exit(lanes.run("clients", __doc__, PEOPLE, sdk.image.disk(), (tables, programs), open_as="lessee"))
