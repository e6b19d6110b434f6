//! The unmodified command lines of the Python clients (`baremetal`, `openstack`, `metalsmith`), as a user would call them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::appliance::{ADMINISTRATOR, Appliance};
use crate::daemon::append_to;
use crate::rack::Rack;
use crate::say;
use crate::sys;

/// How to call the client.
#[derive(Debug, Clone)]
pub(super) struct Cli {
    /// Its name in words and of its log.
    name: String,
    program: PathBuf,
    environment: Vec<(&'static str, String)>,
    log: PathBuf,
    mark: (&'static str, String),
}

/// What the client said.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) success: bool,
    /// Standard output.
    pub(super) output: String,
    /// Standard error.
    pub(super) error: String,
}

impl Cli {
    /// The client at `program` for this appliance, with the administrator's password and the appliance's certificate.
    ///
    /// # Errors
    /// When the password is not there.
    pub(super) fn of_administrator(program: PathBuf, rack: &Rack, appliance: &Appliance) -> Result<Self> {
        let environment = vec![
            ("OS_AUTH_TYPE", "http_basic".to_owned()),
            ("OS_USERNAME", ADMINISTRATOR.to_owned()),
            ("OS_PASSWORD", appliance.password()?.to_owned()),
            ("OS_ENDPOINT", format!("https://127.0.0.1:{}/baremetal", rack.port())),
            ("OS_CACERT", appliance.certificate().to_string_lossy().into_owned()),
        ];
        Ok(Self::with("baremetal".to_owned(), program, environment, rack))
    }

    /// The client `name` in the folder `clients`, as `user` of the file `clouds` calls it.
    pub(super) fn of_cloud(clients: &Path, name: &str, user: &str, clouds: &Path, rack: &Rack) -> Self {
        let environment =
            vec![("OS_CLOUD", user.to_owned()), ("OS_CLIENT_CONFIG_FILE", clouds.to_string_lossy().into_owned())];
        Self::with(name.to_owned(), clients.join(name), environment, rack)
    }

    fn with(name: String, program: PathBuf, mut environment: Vec<(&'static str, String)>, rack: &Rack) -> Self {
        environment.push(("LC_ALL", "C.UTF-8".to_owned()));
        let mark = (crate::folder::RUN_VARIABLE, rack.folder().run().to_owned());
        let log = rack.folder().log(&name);
        Self { name, program, environment, log, mark }
    }

    /// Calls it and waits for its end; the call and its answer go to the log of its name.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn call(&self, arguments: &[&str]) -> Result<Said> {
        let mut command = Command::new(&self.program);
        command.args(arguments).envs(self.environment.iter().cloned()).env(self.mark.0, &self.mark.1);
        command.stdin(Stdio::null());
        sys::tie_to_parent(&mut command);
        let output = command
            .output()
            .with_context(|| format!("{} cannot be started: run packaging/prepare clients", self.program.display()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = Said { success: output.status.success(), output: text(&output.stdout), error: text(&output.stderr) };
        let line = format!(
            "{} $ {} {}\n{}{}[{}]\n",
            say::seconds(),
            self.name,
            arguments.join(" "),
            said.output,
            said.error,
            output.status
        );
        append_to(&self.log)?.write_all(line.as_bytes())?;
        Ok(said)
    }

    /// As [`Self::call`], but a refusal is an error with the client's words.
    ///
    /// # Errors
    /// As said.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<String> {
        let said = self.call(arguments)?;
        if !said.success {
            bail!("`{} {}` failed: {}", self.name, arguments.join(" "), said.error.trim());
        }
        Ok(said.output)
    }

    /// As [`Self::run`], with the answer as JSON.
    ///
    /// # Errors
    /// As said, or when it is no JSON.
    pub(super) fn json(&self, arguments: &[&str]) -> Result<Value> {
        let all: Vec<_> = arguments.iter().copied().chain(["-f", "json"]).collect();
        let output = self.run(&all)?;
        serde_json::from_str(&output).with_context(|| format!("`{} {}` gave no JSON", self.name, arguments.join(" ")))
    }

    /// Calls it expecting a refusal whose words hold `part`, whatever their case.
    ///
    /// # Errors
    /// When it succeeds or says something else.
    pub(super) fn refused(&self, arguments: &[&str], part: &str) -> Result<()> {
        let said = self.call(arguments)?;
        let words = said.error.trim();
        if said.success {
            bail!("`{} {}` should have been refused", self.name, arguments.join(" "));
        }
        if !words.to_lowercase().contains(&part.to_lowercase()) {
            bail!("`{} {}` was refused, but without a word of {part:?}: {words}", self.name, arguments.join(" "));
        }
        Ok(())
    }

    /// The wanted fields of a node.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub(super) fn node(&self, name: &str, fields: &[&str]) -> Result<Value> {
        let all: Vec<_> = ["node", "show", name, "--fields"].into_iter().chain(fields.iter().copied()).collect();
        self.json(&all)
    }
}
