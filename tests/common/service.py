"""A leasehold on loopback for tests of its clients: started on a fresh state folder, ended when left."""

import json
import subprocess
import sys
import time

START_LIMIT = 60
PASSWORD = "a sentence for tests only"


class Service:
    """A leasehold on loopback, ended when left."""

    def __init__(self, program, folder, policy=None):
        """`policy`: the text of the rule file; None: what is shipped."""
        self.program, self.folder, self.policy = program, folder, policy
        self.state = folder / "state"

    def __enter__(self):
        ready = self.folder / "ready.json"
        self.log = open(self.folder / "leasehold.log", "wb")
        config = self.folder / "leasehold.toml"
        text = f'state_folder = "{self.state}"\n[public]\nlisten = "127.0.0.1:0"\nplain_http = true\n'
        if self.policy is not None:
            rules = self.folder / "policy.yaml"
            rules.write_text(self.policy)
            text += f'[policy]\nfile = "{rules}"\n'
        config.write_text(text)
        arguments = [self.program, "serve", "--config", config, "--ready-file", ready]
        self.process = subprocess.Popen(arguments, stdout=self.log, stderr=self.log)
        try:
            self.url = self.ready(ready)
        except BaseException:
            self.__exit__()
            raise
        return self

    def ready(self, file):
        """Waits for the ready file; the URL in it."""
        deadline = time.monotonic() + START_LIMIT
        while not file.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"leasehold does not start: {(self.folder / 'leasehold.log').read_text()[-2000:]}")
            time.sleep(0.05)
        return json.loads(file.read_text())["url"]

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
