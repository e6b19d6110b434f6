//! One command at a time, every result kept, and no work done twice because a question came twice.

use super::command::{Command, Timing};
use crate::console::Console;
use crate::failure::{Failure, Kind};
use leasehold_wire::agent::{CommandList, CommandRequest, CommandResult, CommandStatus, LookupNode};
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Results that are remembered.
const KEPT: usize = 200;

/// What carries commands out.
pub trait Work: Send + Sync {
    /// Does it.
    ///
    /// # Errors
    /// Why not.
    fn run(&self, command: Command, node: Option<LookupNode>) -> Result<Value, Failure>;

    /// A command that ran in the background has ended, and the appliance should hear of it soon.
    fn ended(&self);
}

/// All commands of this boot.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

struct Shared {
    work: Box<dyn Work>,
    console: Console,
    entries: Mutex<VecDeque<Entry>>,
    changed: Condvar,
}

struct Entry {
    result: CommandResult,
    /// Of full name and parameters: a configuration drive in them may be large, and secret.
    question: digest::Digest,
}

impl Registry {
    /// No commands yet.
    #[must_use]
    pub fn new(work: Box<dyn Work>, console: Console) -> Registry {
        Registry {
            shared: Arc::new(Shared { work, console, entries: Mutex::new(VecDeque::new()), changed: Condvar::new() }),
        }
    }

    /// Takes a command. A command that is running already, or was the last one and succeeded, is not run again: its
    /// result is given back, so that an appliance that was restarted may simply ask again.
    ///
    /// # Errors
    /// `Busy` while another one runs; what [`Command::parse`] refuses.
    pub fn submit(&self, request: &CommandRequest) -> Result<CommandResult, Failure> {
        let (command, node) = Command::parse(request)?;
        let timing = command.timing();
        let question = question(request);
        let id = {
            let mut entries = self.lock();
            if let Some(last) = entries.back() {
                let running = last.result.command_status == CommandStatus::Running;
                let same = last.question.as_ref() == question.as_ref();
                let done = timing == Timing::Async && last.result.command_status == CommandStatus::Succeeded;
                if same && (running || done) {
                    return Ok(self.shown(last));
                }
                if running {
                    return Err(Failure::new(Kind::Busy, format!("executing command {}", last.result.command_name)));
                }
            }
            let id = random_uuid();
            let name = request.name.split_once('.').map_or(request.name.as_str(), |(_, method)| method);
            entries.push_back(Entry {
                result: CommandResult {
                    id: id.clone(),
                    command_name: name.to_owned(),
                    command_status: CommandStatus::Running,
                    command_error: None,
                    command_result: None,
                    leasehold_progress: None,
                },
                question,
            });
            if entries.len() > KEPT {
                entries.pop_front();
            }
            id
        };
        match timing {
            Timing::Sync => self.carry_out(&id, command, node),
            Timing::Async => {
                let (registry, id) = (self.clone(), id.clone());
                std::thread::spawn(move || {
                    registry.carry_out(&id, command, node);
                    registry.shared.work.ended();
                });
            }
        }
        self.get(&id).ok_or_else(|| Failure::new(Kind::NotFound, format!("command result {id} is gone")))
    }

    fn carry_out(&self, id: &str, command: Command, node: Option<LookupNode>) {
        let outcome = self.shared.work.run(command, node);
        let mut entries = self.lock();
        if let Some(entry) = entries.iter_mut().find(|entry| entry.result.id == id) {
            let result = &mut entry.result;
            match outcome {
                Ok(value) => {
                    result.command_status = CommandStatus::Succeeded;
                    result.command_result = Some(match value {
                        // As the stock agent wraps a text.
                        Value::String(text) => {
                            serde_json::json!({"result": format!("{}: {text}", result.command_name)})
                        }
                        other => other,
                    });
                }
                Err(failure) => {
                    self.shared.console.say(&format!("{} failed. {failure}", result.command_name));
                    result.command_status = match failure.kind {
                        Kind::VersionMismatch => CommandStatus::VersionMismatch,
                        _ => CommandStatus::Failed,
                    };
                    result.command_error = serde_json::to_value(failure.to_wire()).ok();
                }
            }
        }
        drop(entries);
        self.shared.changed.notify_all();
    }

    /// A result.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<CommandResult> {
        self.lock().iter().find(|entry| entry.result.id == id).map(|entry| self.shown(entry))
    }

    /// A result, once its command has ended.
    #[must_use]
    pub fn wait(&self, id: &str) -> Option<CommandResult> {
        let mut entries = self.lock();
        loop {
            let entry = entries.iter().find(|entry| entry.result.id == id)?;
            if entry.result.command_status != CommandStatus::Running {
                return Some(self.shown(entry));
            }
            entries = self.shared.changed.wait(entries).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// All results, oldest first.
    #[must_use]
    pub fn list(&self) -> CommandList {
        CommandList { commands: self.lock().iter().map(|entry| self.shown(entry)).collect() }
    }

    fn shown(&self, entry: &Entry) -> CommandResult {
        let mut result = entry.result.clone();
        if result.command_status == CommandStatus::Running {
            result.leasehold_progress = self.shared.console.progress();
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.shared.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn question(request: &CommandRequest) -> digest::Digest {
    // Maps are ordered, so equal questions have equal texts.
    let text = serde_json::to_vec(request).unwrap_or_default();
    digest::digest(&digest::SHA256, &text)
}

fn random_uuid() -> String {
    let mut id = [0u8; 16];
    // Ids only have to differ within this boot; if the kernel had no random numbers there would be no TLS either.
    let _ = SystemRandom::new().fill(&mut id);
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    let hex = hex::encode(id);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Waits for permission before each command ends.
    struct Gate {
        open: Mutex<Receiver<Result<Value, Failure>>>,
        started: Sender<String>,
        ended: Sender<()>,
    }

    impl Work for Gate {
        fn run(&self, command: Command, _node: Option<LookupNode>) -> Result<Value, Failure> {
            self.started.send(format!("{command:?}")).unwrap();
            if command.timing() == Timing::Sync {
                return Ok(json!({"sync": true}));
            }
            self.open.lock().unwrap().recv().unwrap()
        }

        fn ended(&self) {
            self.ended.send(()).unwrap();
        }
    }

    struct Bench {
        registry: Registry,
        open: Sender<Result<Value, Failure>>,
        started: Receiver<String>,
        ended: Receiver<()>,
    }

    fn bench() -> Bench {
        let ((open, gate), (started, begun), (ended, over)) = (channel(), channel(), channel());
        let work = Gate { open: Mutex::new(gate), started, ended };
        let registry = Registry::new(Box::new(work), Console::to(vec![]));
        Bench { registry, open, started: begun, ended: over }
    }

    fn step(name: &str) -> CommandRequest {
        let params = json!({"step": {"step": name}, "node": {"uuid": "u"}, "ports": []});
        CommandRequest { name: "clean.execute_clean_step".into(), params: params.as_object().unwrap().clone() }
    }

    #[test]
    fn one_at_a_time_and_the_same_question_is_not_work_twice() {
        let bench = bench();
        let first = bench.registry.submit(&step("erase_devices")).unwrap();
        assert_eq!(first.command_status, CommandStatus::Running);
        assert_eq!(first.command_name, "execute_clean_step");
        bench.started.recv().unwrap();
        assert_eq!(bench.registry.submit(&step("erase_devices")).unwrap().id, first.id);
        let busy = bench.registry.submit(&step("erase_devices_metadata")).unwrap_err();
        assert_eq!((busy.kind, busy.status()), (Kind::Busy, 409));
        bench.open.send(Ok(json!({"clean_result": "fine"}))).unwrap();
        let done = bench.registry.wait(&first.id).unwrap();
        assert_eq!(done.command_status, CommandStatus::Succeeded);
        bench.ended.recv().unwrap();
        // Asked again after it is done: the same result, nothing is started.
        assert_eq!(bench.registry.submit(&step("erase_devices")).unwrap(), done);
        assert!(bench.started.try_recv().is_err());
        // After something else it is new work again.
        let sync = CommandRequest { name: "standby.sync".into(), params: serde_json::Map::new() };
        assert_eq!(bench.registry.submit(&sync).unwrap().command_status, CommandStatus::Succeeded);
        bench.started.recv().unwrap();
        assert_ne!(bench.registry.submit(&step("erase_devices")).unwrap().id, first.id);
        bench.open.send(Ok(Value::Null)).unwrap();
        assert_eq!(bench.registry.list().commands.len(), 3);
    }

    #[test]
    fn a_failed_command_runs_again_and_says_why() {
        let bench = bench();
        let first = bench.registry.submit(&step("x")).unwrap();
        bench.open.send(Err(Failure::new(Kind::Erase, "/dev/sda is broken"))).unwrap();
        let failed = bench.registry.wait(&first.id).unwrap();
        assert_eq!(failed.command_status, CommandStatus::Failed);
        assert_eq!(failed.error_text().unwrap(), "Error erasing block device: /dev/sda is broken");
        let again = bench.registry.submit(&step("x")).unwrap();
        assert_ne!(again.id, first.id);
        bench.open.send(Err(Failure::new(Kind::VersionMismatch, "other"))).unwrap();
        assert_eq!(bench.registry.wait(&again.id).unwrap().command_status, CommandStatus::VersionMismatch);
    }

    #[test]
    fn ids_are_proper() {
        let id = random_uuid();
        assert_eq!((id.len(), &id[14..15]), (36, "4"));
        assert_ne!(id, random_uuid());
    }
}
