"""A leasehold on loopback for tests of its clients: started on a fresh state folder, ended when left."""

import json
import subprocess
import sys
import time

START_LIMIT = 60
PASSWORD = "a sentence for tests only"


class Service:
    """A leasehold on loopback, ended when left."""

    def __init__(self, program, folder, policy=None, open_as=None):
        """`policy`: the text of the rule file; None: what is shipped. `open_as`: whoever shows no credentials is this
        user, at `open_url`; None: there is no such place."""
        self.program, self.folder, self.policy, self.open_as = program, folder, policy, open_as
        self.state, self.import_folder = folder / "state", folder / "import"

    def __enter__(self):
        ready = self.folder / "ready.json"
        self.log = open(self.folder / "leasehold.log", "wb")
        config = self.folder / "leasehold.toml"
        self.import_folder.mkdir(exist_ok=True)
        text = f'state_folder = "{self.state}"\n[public]\nlisten = "127.0.0.1:0"\nplain_http = true\n'
        text += f'[images]\nimport_folder = "{self.import_folder}"\n'
        if self.open_as is not None:
            text += f'[local]\nopen_listen = "127.0.0.1:0"\nopen_as = "{self.open_as}"\n'
        if self.policy is not None:
            rules = self.folder / "policy.yaml"
            rules.write_text(self.policy)
            text += f'[policy]\nfile = "{rules}"\n'
        config.write_text(text)
        arguments = [self.program, "serve", "--config", config, "--ready-file", ready]
        self.process = subprocess.Popen(arguments, stdout=self.log, stderr=self.log)
        try:
            told = self.ready(ready)
            self.url, self.open_url = told["url"], told.get("open")
        except BaseException:
            self.__exit__()
            raise
        return self

    def ready(self, file):
        """Waits for the ready file; what it says."""
        deadline = time.monotonic() + START_LIMIT
        while not file.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"leasehold does not start: {(self.folder / 'leasehold.log').read_text()[-2000:]}")
            time.sleep(0.05)
        return json.loads(file.read_text())

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.log.close()

    def account(self, name, roles, project=None):
        """Makes a user with these roles in the project, or in the whole system, with the program's own command line."""
        socket = self.state / "leasehold.sock"
        command = [self.program, "account", "create", name, "--socket", socket, "--password-stdin"]
        kind = "--system-role"
        if project is not None:
            command += ["--project", project]
            kind = "--role"
        for role in roles:
            command += [kind, role]
        subprocess.run(command, input=f"{PASSWORD}\n", text=True, check=True, stdout=subprocess.DEVNULL)
