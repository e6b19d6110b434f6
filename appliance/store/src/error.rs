//! What can go wrong, in the words of whoever runs the appliance: what, why, what to do.

use crate::codec::CodecError;
use crate::event_log::CursorError;
use leasehold_domain::Refusal;
use std::io;
use std::path::PathBuf;

/// The state folder could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} is in use{}: stop that one first, or give this one another state folder", dir.display(), by(.pid))]
    InUse { dir: PathBuf, pid: Option<u32> },
    #[error(
        "{} was written by a newer version of the program (schema {found}, this one knows up to {known}): \
         install that version again, or restore an older backup",
        dir.display()
    )]
    Newer { dir: PathBuf, found: u32, known: u32 },
    #[error("the disk that holds {} is full: free some space and start again", dir.display())]
    DiskFull { dir: PathBuf },
    #[error("{} is damaged: {why}; restore it from a backup", file.display())]
    Damaged { file: PathBuf, why: String },
    #[error("{what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot open {}: {why}", file.display())]
    Failed { file: PathBuf, why: String },
}

fn by(pid: &Option<u32>) -> String {
    pid.map_or_else(|| " by another process".into(), |pid| format!(" by the process {pid}"))
}

/// A command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// A rule says no. Nothing was written.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// 507. Nothing was written, unless the reason says that this is not known yet.
    #[error("The appliance cannot store changes: {reason}.")]
    DiskFull { reason: String },
    /// 500. The disk failed, or the program has a defect; the log has the details.
    #[error("The change could not be stored: {reason}.")]
    Failed { reason: String },
    /// 503. The appliance is stopping.
    #[error("The appliance is stopping; repeat the request when it is back.")]
    Closed,
}

/// History could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// The database is being reopened after an error, or the store is closed.
    #[error("The history cannot be read at the moment: {0}.")]
    Unavailable(String),
    #[error("The history cannot be read: {0}.")]
    Failed(String),
}

/// What the disk or the database did, before it is put in somebody's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("no space is left on the disk that holds the state folder")]
    Full,
    #[error("{0}")]
    Io(String),
    #[error("{0}")]
    Damaged(String),
    #[error("the database is not open")]
    NotOpen,
    #[error("the disk holds schema {found}, this program knows up to {known}")]
    Newer { found: u32, known: u32 },
}

impl Fault {
    pub(crate) fn from_io(error: &io::Error) -> Fault {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::Full,
            _ => Fault::Io(error.to_string()),
        }
    }
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Fault {
        match error {
            redb::Error::Io(error) => Fault::from_io(&error),
            redb::Error::Corrupted(why) => Fault::Damaged(why),
            redb::Error::DatabaseClosed => Fault::NotOpen,
            other => Fault::Io(other.to_string()),
        }
    }
}

macro_rules! faults {
    ($($error:ty),+) => {$(
        impl From<$error> for Fault {
            fn from(error: $error) -> Fault {
                Fault::from(redb::Error::from(error))
            }
        }
    )+};
}

faults!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::DatabaseError,
    redb::CompactionError
);

impl From<CodecError> for Fault {
    fn from(error: CodecError) -> Fault {
        Fault::Damaged(error.to_string())
    }
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> ReadError {
        match fault {
            Fault::NotOpen => ReadError::Unavailable("the database is being opened again or was closed".into()),
            other => ReadError::Failed(other.to_string()),
        }
    }
}
