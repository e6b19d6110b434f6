//! Commands, checked before anything runs.

use crate::failure::{Failure, Kind, OrFailure};
use crate::image;
use crate::rescue::PasswordHash;
use leasehold_wire::agent::{CommandRequest, ImageInfo, LookupNode};
use serde_json::{Map, Value};

/// What a step is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Between two users.
    Clean,
    /// Before a user's image is written.
    Deploy,
    /// On a user's machine, which is his again afterwards.
    Service,
}

impl Phase {
    /// The word that names of commands, parameters and results begin with.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Phase::Clean => "clean",
            Phase::Deploy => "deploy",
            Phase::Service => "service",
        }
    }
}

/// A command whose parameters are all there.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// What there is to do.
    GetSteps(Phase),
    /// One step.
    ExecuteStep {
        /// What it is for.
        phase: Phase,
        /// As it was given, to be given back.
        step: Value,
        /// The step's name.
        name: String,
        /// The version that the service planned with.
        version: Option<Value>,
    },
    /// Image and config drive to the disk.
    PrepareImage {
        /// The image.
        info: Box<ImageInfo>,
        /// Base64 of gzip, or an address.
        config_drive: Option<String>,
    },
    /// Ids of what was written.
    GetPartitionUuids,
    /// Everything onto the disks.
    Sync,
    /// The clock is set with every answer of the appliance; nothing is left to do.
    SyncClock,
    /// Boot entry.
    InstallBootloader {
        /// The service would go on without it.
        ignore_failure: bool,
    },
    /// Let the machine's user in.
    FinalizeRescue(PasswordHash),
    /// Off.
    PowerOff,
    /// Start again, from disk.
    Reboot,
}

/// Whether a caller is answered at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// Done before the answer.
    Sync,
    /// The answer is "running".
    Async,
}

impl Command {
    /// Reads a request. The node that some commands carry is given back beside the command.
    ///
    /// # Errors
    /// `NotFound` for an unknown extension, `InvalidCommand` for an unknown command, `InvalidCommandParams`.
    pub fn parse(request: &CommandRequest) -> Result<(Command, Option<LookupNode>), Failure> {
        let params = &request.params;
        let Some((extension, method)) = request.name.split_once('.') else {
            return Err(Failure::new(Kind::InvalidCommand, "a command's name has the form extension.method"));
        };
        let command = match (extension, method) {
            ("clean", "get_clean_steps") => Command::GetSteps(Phase::Clean),
            ("deploy", "get_deploy_steps") => Command::GetSteps(Phase::Deploy),
            ("service", "get_service_steps") => Command::GetSteps(Phase::Service),
            ("clean", "execute_clean_step") => Self::step(params, Phase::Clean)?,
            ("deploy", "execute_deploy_step") => Self::step(params, Phase::Deploy)?,
            ("service", "execute_service_step") => Self::step(params, Phase::Service)?,
            ("standby", "prepare_image") => Self::prepare_image(params)?,
            ("standby", "get_partition_uuids") => Command::GetPartitionUuids,
            ("standby", "sync") => Command::Sync,
            ("standby", "sync_clock") => Command::SyncClock,
            ("standby", "power_off") => Command::PowerOff,
            ("standby", "run_image" | "reboot") => Command::Reboot,
            ("image", "install_bootloader") => Command::InstallBootloader {
                ignore_failure: params.get("ignore_bootloader_failure").and_then(Value::as_bool).unwrap_or(false),
            },
            ("rescue", "finalize_rescue") => {
                let hash = PasswordHash::of_params(params);
                Command::FinalizeRescue(hash.map_err(|why| Failure::new(Kind::InvalidCommandParams, why))?)
            }
            ("clean" | "deploy" | "service" | "standby" | "image" | "rescue", _) => {
                return Err(Failure::new(Kind::InvalidCommand, format!("unknown command: {}", request.name)));
            }
            _ => {
                let why = format!("extension {extension} is not part of this agent");
                return Err(Failure::new(Kind::NotFound, why));
            }
        };
        Ok((command, node(params)?))
    }

    fn step(params: &Map<String, Value>, phase: Phase) -> Result<Command, Failure> {
        let wrong = |why| Failure::new(Kind::InvalidCommandParams, why);
        let step = params.get("step").filter(|step| step.is_object()).ok_or(wrong("the parameter step is missing"))?;
        let name = step.get("step").and_then(Value::as_str).ok_or(wrong("the step has no name"))?;
        let version = params.get(&format!("{}_version", phase.name()));
        Ok(Command::ExecuteStep {
            phase,
            step: step.clone(),
            name: name.to_owned(),
            version: version.filter(|version| !version.is_null()).cloned(),
        })
    }

    fn prepare_image(params: &Map<String, Value>) -> Result<Command, Failure> {
        let wrong = |why: &str| Failure::new(Kind::InvalidCommandParams, why);
        let given = params.get("image_info").ok_or_else(|| wrong("the parameter image_info is missing"))?;
        let info: ImageInfo =
            serde_json::from_value(given.clone()).or_failure(Kind::InvalidCommandParams, || "image_info".to_owned())?;
        image::validate(&info)?;
        let config_drive = match params.get("configdrive").or_else(|| given.get("configdrive")) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.is_empty() => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => return Err(wrong("configdrive is not a text: give base64 of gzip, or an address")),
        };
        Ok(Command::PrepareImage { info: Box::new(info), config_drive })
    }

    /// How the stock agent answers this command.
    #[must_use]
    pub fn timing(&self) -> Timing {
        match self {
            Command::GetSteps(_) | Command::GetPartitionUuids | Command::Sync | Command::SyncClock => Timing::Sync,
            _ => Timing::Async,
        }
    }
}

fn node(params: &Map<String, Value>) -> Result<Option<LookupNode>, Failure> {
    match params.get("node") {
        Some(node @ Value::Object(_)) => {
            serde_json::from_value(node.clone()).map(Some).or_failure(Kind::InvalidCommandParams, || "node".to_owned())
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn parse(name: &str, params: Value) -> Result<Command, Failure> {
        let request = CommandRequest { name: name.to_owned(), params: params.as_object().unwrap().clone() };
        Command::parse(&request).map(|(command, _)| command)
    }

    #[test]
    fn the_services_commands_are_understood() {
        assert_eq!(
            parse("clean.get_clean_steps", json!({"node": {"uuid": "u"}, "ports": []})).unwrap(),
            Command::GetSteps(Phase::Clean)
        );
        let step = json!({"step": "erase_devices", "priority": 10, "interface": "deploy"});
        let read = parse(
            "clean.execute_clean_step",
            json!({"step": step, "node": {"uuid": "u"}, "ports": [], "clean_version": {"a": "1"}}),
        )
        .unwrap();
        assert_eq!(
            read,
            Command::ExecuteStep {
                phase: Phase::Clean,
                step,
                name: "erase_devices".into(),
                version: Some(json!({"a": "1"}))
            }
        );
        let info = json!({"id": "i", "urls": ["http://x/i"], "checksum": "ab".repeat(32), "disk_format": "raw", "configdrive": "H4s="});
        let Command::PrepareImage { config_drive, .. } =
            parse("standby.prepare_image", json!({"image_info": info})).unwrap()
        else {
            panic!()
        };
        assert_eq!(config_drive.as_deref(), Some("H4s="));
        assert_eq!(parse("standby.run_image", json!({})).unwrap().timing(), Timing::Async);
        assert_eq!(parse("standby.sync", json!({})).unwrap().timing(), Timing::Sync);
    }

    #[test]
    fn what_is_wrong_is_refused_by_its_kind() {
        for (name, params, kind) in [
            ("standby", json!({}), Kind::InvalidCommand),
            ("standby.fly", json!({}), Kind::InvalidCommand),
            ("raid.create", json!({}), Kind::NotFound),
            ("rescue.fly", json!({}), Kind::InvalidCommand),
            ("rescue.finalize_rescue", json!({}), Kind::InvalidCommandParams),
            ("rescue.finalize_rescue", json!({"rescue_password": "in the clear"}), Kind::InvalidCommandParams),
            ("clean.execute_clean_step", json!({}), Kind::InvalidCommandParams),
            ("clean.execute_clean_step", json!({"step": {"name": "x"}}), Kind::InvalidCommandParams),
            ("standby.prepare_image", json!({}), Kind::InvalidCommandParams),
            ("standby.prepare_image", json!({"image_info": {"urls": 5}}), Kind::InvalidCommandParams),
            (
                "standby.prepare_image",
                json!({"image_info": {"urls": ["http://x/i"], "checksum": "ab".repeat(32)}, "configdrive": {}}),
                Kind::InvalidCommandParams,
            ),
            ("standby.sync", json!({"node": {"properties": 5}}), Kind::InvalidCommandParams),
        ] {
            assert_eq!(parse(name, params.clone()).unwrap_err().kind, kind, "{name} {params}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_survived(name in ".{0,40}") {
            let _ = parse(&name, json!({"step": {"step": "x"}}));
        }
    }
}
