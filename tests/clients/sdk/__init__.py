"""openstacksdk's calls, each with what must come of it: for a member of a project, and for an administrator."""

import time
import traceback

import openstack.config
import openstack.connection
from openstack import exceptions

from . import baremetal, identity, image, network

WAIT = 60


class Scene:
    """Connections of the people of the tests, by the file that all clients read."""

    def __init__(self, clients, projects):
        self.clients, self.projects = clients, projects
        self.folder = clients.folder
        self.open = {}

    def of(self, who):
        """The connection of one of the people."""
        if who not in self.open:
            files = [str(self.folder / "clouds.yaml")]
            config = openstack.config.OpenStackConfig(config_files=files, secure_files=[], vendor_files=[])
            self.open[who] = openstack.connection.Connection(config=config.get_one(cloud=who))
        return self.open[who]

    def refused(self, wanted, call, *arguments, **more):
        """The call ends with this HTTP status."""
        try:
            given = call(*arguments, **more)
        except exceptions.HttpException as error:
            assert error.status_code == wanted, f"{error.status_code} instead of {wanted}: {error}"
            return
        raise AssertionError(f"not refused with {wanted}: {given}")

    def until(self, look, what):
        """Looks until it is so."""
        deadline = time.monotonic() + WAIT
        while not look():
            assert time.monotonic() < deadline, f"not within {WAIT} s: {what}"
            time.sleep(0.1)


def run(clients, projects):
    """Every check of every service, in order."""
    scene = Scene(clients, projects)
    for service in (identity, baremetal, network, image):
        for check in service.CHECKS:
            name = f"openstacksdk, {service.__name__.rpartition('.')[2]}: {check.__doc__}"
            try:
                check(scene)
            except Exception:
                clients.count(name, False, traceback.format_exc())
            else:
                clients.count(name, True, "")
    for connection in scene.open.values():
        connection.close()
