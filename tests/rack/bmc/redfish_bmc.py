#!/usr/bin/env python3
"""The Redfish BMC of one node of the virtual rack.

sushy-tools speaks Redfish; this program gives it a system whose power and boot settings live in the node's power
agent. In: HTTPS requests, and the agent's Unix socket (one JSON object per line each way). Out: Redfish answers,
and power and boot requests to the agent. Both BMC faces of a node (this one and ipmi_chassis_control) ask the same
agent, so both see one truth.

    redfish_bmc.py --listen 127.0.0.1 --port 8443 --cert bmc.crt --key bmc.key --user admin --password-file pw \
        --name node1 --uuid 6f0c… --socket /run/rack/node1/power.sock

Runs in the foreground, logs to stderr, ends with SIGTERM or SIGINT. Needs requirements.txt (in a venv).
"""

import argparse
import ipaddress
import json
import logging
import os
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import threading
import uuid

import bcrypt
import flask
from sushy_tools import error
from sushy_tools.emulator import main as emulator
from sushy_tools.emulator.resources.systems import fakedriver
from werkzeug.serving import WSGIRequestHandler, make_server

LOG = logging.getLogger("redfish_bmc")

# How long the power agent may take for one answer; a real machine's power switch is not faster either.
AGENT_TIMEOUT_S = 20

RESET_TYPES = {
    "On": "on",
    "ForceOn": "on",
    "ForceOff": "off",
    "GracefulShutdown": "soft",
    "ForceRestart": "reset",
    "PowerCycle": "cycle",
    "Nmi": "nmi",
}
BOOT_TARGETS = {"None": "none", "Pxe": "pxe", "Hdd": "disk", "Cd": "cdrom", "BiosSetup": "bios"}
BOOT_DEVICES = {device: target for target, device in BOOT_TARGETS.items()}
BOOT_MODES = {"UEFI": "uefi", "Legacy": "bios"}
MODE_NAMES = {mode: name for name, mode in BOOT_MODES.items()}
# The firmware's settings as they leave the factory, and what those may be that are not free.
FACTORY_SETTINGS = {"ProcTurboMode": "Enabled", "NicBoot1": "NetworkBoot", "NumCores": 10, "QuietBoot": True}
SETTING_CHOICES = {
    "ProcTurboMode": ("Enabled", "Disabled"),
    "NicBoot1": ("NetworkBoot", "Disabled"),
    "QuietBoot": (True, False),
}


def ask_agent(path, request):
    """Sends one request to the power agent and returns its answer; a refusal becomes a Redfish error."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
            agent.settimeout(AGENT_TIMEOUT_S)
            agent.connect(path)
            agent.sendall(json.dumps(request).encode() + b"\n")
            with agent.makefile("rb") as answers:
                answer = json.loads(answers.readline())
    except (OSError, ValueError) as exc:
        raise error.FishyError(f"the power agent at {path} does not answer: {exc}", code=503) from exc
    if "error" in answer:
        raise error.Conflict(answer["error"])
    return answer


class NodeDriver(fakedriver.FakeDriver):
    """One system whose power and boot settings are the power agent's."""

    def __init__(self):  # pylint: disable=super-init-not-called
        # The parent would keep its systems in a file of the machine's temporary folder, shared by every emulator.
        node = self._config["RACK_NODE"]
        self._socket = self._config["RACK_POWER_SOCKET"]
        self._systems = {node["uuid"]: node}
        self._by_name = {node["name"]: node["uuid"]}
        # In force, and for the machine's next start.
        self._settings = dict(FACTORY_SETTINGS)
        self._pending = {}

    @property
    def driver(self):
        return "<virtual rack>"

    def _ask(self, identity, request):
        self._get(identity)
        return ask_agent(self._socket, request)

    def get_power_state(self, identity):
        return "On" if self._ask(identity, {"op": "get"})["power"] == "on" else "Off"

    def set_power_state(self, identity, state):
        target = RESET_TYPES.get(state)
        if target is None:
            raise error.NotSupportedError(f"ResetType {state} is not supported")
        self._ask(identity, {"op": "power", "target": target})
        if target in ("on", "reset", "cycle"):
            self._settings = {**self._settings, **self._pending}
            self._pending = {}

    def get_bios(self, identity):
        self._get(identity)
        return self._settings

    def set_bios(self, identity, attributes):
        self._get(identity)
        for name, value in attributes.items():
            if name not in FACTORY_SETTINGS:
                raise error.BadRequest(f"There is no BIOS attribute {name}.")
            if value not in SETTING_CHOICES.get(name, (value,)):
                raise error.BadRequest(f"The BIOS attribute {name} cannot be {value}.")
        self._pending = {**self._pending, **attributes}

    def reset_bios(self, identity):
        self._get(identity)
        self._pending = dict(FACTORY_SETTINGS)

    def get_boot_device(self, identity):
        return BOOT_DEVICES.get(self._ask(identity, {"op": "get"})["boot"]["device"], "None")

    def set_boot_device(self, identity, boot_source):
        # sushy-tools hands over the target only. How long and in which mode stands in the same request, and the
        # agent gets all of it at once, so that a refusal leaves nothing half set.
        boot = flask.request.json["Boot"]
        device = BOOT_TARGETS.get(boot_source)
        if device is None:
            raise error.BadRequest(f"BootSourceOverrideTarget {boot_source} is not supported")
        enabled = boot.get("BootSourceOverrideEnabled", "Once")
        if enabled not in ("Once", "Continuous", "Disabled"):
            raise error.BadRequest(f"BootSourceOverrideEnabled {enabled} is not supported")
        if enabled == "Disabled":
            device = "none"
        mode = boot.get("BootSourceOverrideMode") or self.get_boot_mode(identity)
        self._set_boot(identity, device, enabled == "Continuous", mode)

    def get_boot_mode(self, identity):
        return MODE_NAMES.get(self._ask(identity, {"op": "get"})["boot"]["mode"], "UEFI")

    def set_boot_mode(self, identity, boot_mode):
        boot = self._ask(identity, {"op": "get"})["boot"]
        if BOOT_MODES.get(boot_mode) != boot["mode"]:
            self._set_boot(identity, boot["device"], boot["persistent"], boot_mode)

    def _set_boot(self, identity, device, persistent, mode):
        if mode not in BOOT_MODES:
            raise error.BadRequest(f"BootSourceOverrideMode {mode} is not supported")
        request = {"op": "boot", "device": device, "persistent": persistent, "mode": BOOT_MODES[mode]}
        self._ask(identity, request)

    def get_versions(self, identity):
        return {"BiosVersion": self._get(identity)["bios_version"]}

    def set_versions(self, identity, firmware_versions):
        # What sushy-tools makes of an update: the next version, whatever the image is.
        self._get(identity)["bios_version"] = firmware_versions["BiosVersion"]

    def get_total_cpus(self, identity):
        return self._get(identity)["cpus"]

    def get_total_memory(self, identity):
        return self._get(identity)["memory_gib"]


class RequestHandler(WSGIRequestHandler):
    """A client that falls silent, before or after the handshake, costs one thread for this long and no more."""

    timeout = 60


def password_digest_file(user, password):
    """A path with the digest that sushy-tools' Basic authentication reads. It is in memory: nothing to clean up."""
    handle = os.memfd_create("redfish-bmc-users")
    # The lowest cost: the digest never leaves this process, and clients without sessions send Basic every time.
    digest = bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=4)).decode()
    os.write(handle, f"{user}:{digest}\n".encode())
    return f"/proc/self/fd/{handle}"


def arguments():
    parser = argparse.ArgumentParser(description="The Redfish BMC of one node of the virtual rack.")
    parser.add_argument("--listen", required=True, help="IP address to listen on")
    parser.add_argument("--port", required=True, type=int, help="TCP port; 0 takes a free one (see stderr)")
    parser.add_argument("--cert", help="certificate chain (PEM); without it plain HTTP is spoken")
    parser.add_argument("--key", help="its private key (PEM)")
    parser.add_argument("--user", required=True, help="user name of the BMC")
    secret = parser.add_mutually_exclusive_group(required=True)
    secret.add_argument("--password", help="password of the BMC (seen by every user of this machine)")
    secret.add_argument("--password-file", help="a file whose first line is the password")
    parser.add_argument("--name", required=True, help="name of the node")
    parser.add_argument("--uuid", required=True, type=uuid.UUID, help="UUID of the node (SMBIOS type 1)")
    parser.add_argument("--socket", required=True, help="Unix socket of the node's power agent")
    parser.add_argument("--mac", action="append", default=[], help="MAC address of a network card; may be repeated")
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--memory-gib", type=int, default=1)
    parser.add_argument("--bios-version", default="1.0")
    args = parser.parse_args()
    if bool(args.cert) != bool(args.key):
        parser.error("--cert and --key belong together")
    if args.password_file:
        with open(args.password_file, encoding="utf-8") as lines:
            args.password = lines.readline().rstrip("\n")
    return args


def main():
    args = arguments()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=f"{args.name} redfish: %(message)s")
    fakedriver.FakeDriver = NodeDriver
    state_folder = tempfile.mkdtemp(prefix="redfish-bmc-")
    emulator.app.configure(
        extra_config={
            "SUSHY_EMULATOR_FAKE_DRIVER": True,
            "SUSHY_EMULATOR_STATE_DIR": state_folder,
            "SUSHY_EMULATOR_AUTH_FILE": password_digest_file(args.user, args.password),
            "RACK_POWER_SOCKET": args.socket,
            "RACK_NODE": {
                "uuid": str(args.uuid),
                "name": args.name,
                "bios_version": args.bios_version,
                "cpus": args.cpus,
                "memory_gib": args.memory_gib,
                "nics": [{"mac": mac} for mac in args.mac],
            },
        }
    )
    # sushy-tools caches its driver without a lock: make it before there are threads.
    _ = emulator.app.systems
    try:
        server = make_server(args.listen, args.port, emulator.app, threaded=True, request_handler=RequestHandler)
        if args.cert:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(args.cert, args.key)
            # The handshake belongs to the connection's own thread: a client that never says hello must not stop
            # the accept loop.
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            server.ssl_context = context
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        host = f"[{args.listen}]" if ipaddress.ip_address(args.listen).version == 6 else args.listen
        LOG.info("listening on %s://%s:%d", "https" if args.cert else "http", host, server.port)
        server.serve_forever()
    finally:
        shutil.rmtree(state_folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
