//! How values are written: a version byte, then MessagePack with field names.
//!
//! Names make rows self-describing: a field that is added gets its default when an old row is read, and a tool that
//! knows nothing of the program can show what a row says. The version byte is for changes that names cannot carry, and
//! for rows that are so many that names would be most of them ([`encode_brief`]).

use serde::{Serialize, de::DeserializeOwned};

/// The version that is written. All versions that are still read are handled in [`decode`].
const VERSION: u8 = 1;
/// MessagePack without names: members are told by their place, and none can be added without another version.
const BRIEF: u8 = 2;

/// Room for what is written, in bytes.
const USUAL: usize = 256;

/// A value could not be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("the value is empty")]
    Empty,
    #[error("the value has version {0}, which this program does not know")]
    Version(u8),
    #[error("the value cannot be read: {0}")]
    Decode(String),
    #[error("the value cannot be written: {0}")]
    Encode(String),
}

pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    // Most rows fit; to grow byte by byte would cost more than the encoding.
    let mut bytes = Vec::with_capacity(USUAL);
    bytes.push(VERSION);
    rmp_serde::encode::write_named(&mut bytes, value).map_err(|error| CodecError::Encode(error.to_string()))?;
    Ok(bytes)
}

pub(crate) fn encode_brief<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::with_capacity(USUAL);
    bytes.push(BRIEF);
    rmp_serde::encode::write(&mut bytes, value).map_err(|error| CodecError::Encode(error.to_string()))?;
    Ok(bytes)
}

/// Whether this was written by [`encode_brief`].
pub(crate) fn is_brief(bytes: &[u8]) -> bool {
    bytes.first() == Some(&BRIEF)
}

pub(crate) fn decode_brief<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    read(bytes, BRIEF)
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    read(bytes, VERSION)
}

fn read<T: DeserializeOwned>(bytes: &[u8], wanted: u8) -> Result<T, CodecError> {
    let (version, rest) = bytes.split_first().ok_or(CodecError::Empty)?;
    if *version != wanted {
        return Err(CodecError::Version(*version));
    }
    rmp_serde::from_slice(rest).map_err(|error| CodecError::Decode(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use leasehold_domain::event::{Event, What};
    use leasehold_domain::id::{JobId, LeaseId, NodeId, OfferId};
    use leasehold_domain::job::{JobKind, StepName};
    use leasehold_domain::lease::{LeaseState, OfferState, Span};
    use leasehold_domain::node::{Node, NodeSettings, Sealed};
    use leasehold_domain::power::{PowerState, PowerTarget};
    use leasehold_domain::provision::ProvisionState;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use uuid::Uuid;

    fn round_trip<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
        let bytes = encode(value).expect("it can be written");
        assert_eq!(&decode::<T>(&bytes).expect("it can be read"), value);
    }

    #[test]
    fn every_event_is_read_back() {
        let job = JobId(Uuid::from_u128(7));
        let whats = [
            What::NodeCreated { name: Some("n".into()) },
            What::NodeChanged,
            What::NodeDeleted { name: None },
            What::PortCreated { address: "52:54:00:00:00:01".into() },
            What::Provision {
                from: ProvisionState::DeployWait,
                to: ProvisionState::DeployFailed,
                target: Some(ProvisionState::Active),
                error: Some("no".into()),
            },
            What::Power { to: Some(PowerState::Off) },
            What::Power { to: None },
            What::Maintenance { on: true, reason: None, quarantine: false },
            What::JobStarted { job, kind: JobKind::Power(PowerTarget::SoftReboot) },
            What::StepStarted { job, step: StepName::WriteImage, attempt: 2 },
            What::StepEnded { job, step: StepName::Wipe, ok: false, detail: Some("why".into()) },
            What::JobEnded { job, kind: JobKind::Deploy, ok: true, detail: None },
            What::AgentCalled { job, version: "1".into() },
            What::InventorySaved,
            What::OfferChanged { offer: OfferId(Uuid::from_u128(8)), state: OfferState::Expired },
            What::LeaseChanged {
                lease: LeaseId(Uuid::from_u128(9)),
                from: Some(LeaseState::Created),
                state: LeaseState::WaitFulfill,
                span: Span::ALL,
                reason: Some("why".into()),
            },
        ];
        for what in whats {
            let node = Some(NodeId(Uuid::from_u128(1)));
            round_trip(&Event { at: Timestamp::UNIX_EPOCH, node, owner: Some("a".into()), lessee: None, what });
        }
    }

    #[test]
    fn a_node_is_read_back_with_its_free_form_parts() {
        let mut settings = NodeSettings { name: Some("n".into()), ..NodeSettings::default() };
        settings.driver_secrets.insert("password".into(), Sealed(vec![0, 200, 255]));
        for (key, value) in [("a", json!({"b": [1, -2, 2.5, null, true, "x"]})), ("big", json!(u64::MAX))] {
            settings.properties.insert(key.into(), value);
        }
        round_trip(&Node::enrolled(NodeId(Uuid::from_u128(1)), settings, Timestamp::UNIX_EPOCH));
    }

    #[test]
    fn what_another_program_wrote_is_named() {
        assert_eq!(decode::<u64>(&[]), Err(CodecError::Empty));
        assert_eq!(decode::<u64>(&[9, 1]), Err(CodecError::Version(9)));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_filter("JSON has no infinities", |number| number.is_finite()).prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map(".{0,6}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_is_read_back(value in any_json()) {
            prop_assert_eq!(decode::<Value>(&encode(&value).expect("written")).expect("read"), value);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<Node>(&bytes);
            let _ = decode::<Event>(&bytes);
        }
    }
}
