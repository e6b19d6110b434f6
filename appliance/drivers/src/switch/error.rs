//! Why a port is not known to be where it should be.

/// The text is for the person at the rack: what, why, what to do. `switch` is the name from the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    /// Nothing answered in time, or the connection ended. What was asked for may have come about or not.
    #[error("the switch '{switch}' does not answer ({detail}): check its power, its address and the way to it")]
    Unreachable { switch: String, detail: String },
    /// Something answers that is not the switch, as far as its certificate tells.
    #[error("the switch '{switch}' is not trusted: {detail}")]
    Certificate { switch: String, detail: String },
    /// It answered something that makes no sense.
    #[error("the switch '{switch}' answers in a way that cannot be used: {detail}")]
    Protocol { switch: String, detail: String },
    /// It understood and said no.
    #[error("the switch '{switch}' refuses: {detail}")]
    Refused { switch: String, detail: String },
    /// The configuration cannot be used, or asks for what the switch must not do.
    #[error("the switch '{switch}' cannot be used like that: {detail}")]
    Unsupported { switch: String, detail: String },
    #[error("the switch '{switch}' has no port '{port}': compare the port's local_link_connection with the cable")]
    UnknownPort { switch: String, port: String },
    /// Nothing was written.
    #[error("somebody else has changed port '{port}' of the switch '{switch}' at the same moment; nothing was changed")]
    Changed { switch: String, port: String },
    /// Written, but the part of the switch that moves frames has not confirmed it.
    #[error("the switch '{switch}' has noted what port '{port}' is to be, but has not carried it out: {detail}")]
    NotApplied { switch: String, port: String, detail: String },
    /// Written, confirmed, and then read back as something else.
    #[error("port '{port}' of the switch '{switch}' was to be {wanted}, and is read back as {got}")]
    NotKept { switch: String, port: String, wanted: String, got: String },
    /// The port is set, and does not work.
    #[error("port '{port}' of the switch '{switch}' does not work: {detail}")]
    Broken { switch: String, port: String, detail: String },
}

impl SwitchError {
    /// Another try may well succeed without anybody doing anything.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            SwitchError::Unreachable { .. }
                | SwitchError::Protocol { .. }
                | SwitchError::Changed { .. }
                | SwitchError::NotApplied { .. }
                | SwitchError::NotKept { .. }
                | SwitchError::Broken { .. }
        )
    }
}
