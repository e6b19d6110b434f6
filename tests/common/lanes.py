"""Works on several leaseholds beside each other: each client takes a second of one processor to start."""

import argparse
import concurrent.futures
import os
import pathlib
import tempfile

from commands import Clients
from service import Service


def lane(folder, work, people, disk, open_as):
    """Does the work at a leasehold of its own; the clients, with what they counted."""
    folder.mkdir(parents=True, exist_ok=True)
    with Service(os.environ["LEASEHOLD_BIN"], folder, open_as=open_as) as service:
        for name, (roles, project) in people.items():
            service.account(name, roles, project)
        clients = Clients(service, folder, people)
        clients.clouds()
        # Who is asked for all projects sees them all.
        for row in clients.ask("sys", "openstack project list"):
            clients.names[row["Name"]] = row["ID"]
        file = folder / "disk.raw"
        file.write_bytes(disk)
        (service.import_folder / "disk.raw").write_bytes(disk)
        clients.names["disk"] = str(file)
        work(clients)
    return clients


def run(part, about, people, disk, works, open_as=None):
    """Does all works; the exit status. Says "PART: N passed, N failed" at the end."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--keep", type=pathlib.Path, help="folder for state and logs, kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix=f"leasehold-{part}-") as temporary:
        folder = options.keep or pathlib.Path(temporary)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            lanes = [pool.submit(lane, folder / work.__name__, work, people, disk, open_as) for work in works]
        done = [future.result() for future in lanes]
    passed, failed = sum(clients.passed for clients in done), sum(clients.failed for clients in done)
    print(f"{part}: {passed} passed, {failed} failed")
    return 1 if failed or not passed else 0
