//! Bindings of addresses as they are written: in a quarter of the bytes that names and texts would take.
//!
//! Each lease is written twice, to the journal and to the database, and a hundred thousand of them are rows side by side,
//! of which a fold touches some here and some there: what a row takes on the disk is what most of a lease costs.
//! Rows and records of schema 4 and before, with names, are still read.

use crate::codec::{self, CodecError};
use crate::journal::Entry;
use jiff::Timestamp;
use leasehold_domain::address::{Binding, ClientKey, Hold};
use leasehold_domain::mac::Mac;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A row of the database: a binding, and its place in the order in which all of them were written.
#[derive(Deserialize)]
pub(crate) struct Row {
    pub(crate) order: u64,
    pub(crate) binding: Binding,
}

/// Seconds since the epoch, and nanoseconds of the same sign.
#[derive(Serialize, Deserialize)]
struct Moment(i64, i32);

#[derive(Serialize, Deserialize)]
struct Brief {
    address: u32,
    since: Moment,
    expires: Moment,
    hold: BriefHold,
}

#[derive(Serialize, Deserialize)]
enum BriefHold {
    /// The client is this MAC address.
    #[serde(rename = "m")]
    Mac([u8; 6]),
    /// The client is this identifier and has this MAC address.
    #[serde(rename = "i")]
    Identifier(Vec<u8>, [u8; 6]),
    /// The client is the first MAC address, though its messages came from the second.
    #[serde(rename = "o")]
    OtherMac([u8; 6], [u8; 6]),
    #[serde(rename = "d")]
    Declined,
}

#[derive(Serialize, Deserialize)]
enum BriefEntry {
    #[serde(rename = "p")]
    Put(Brief),
    #[serde(rename = "d")]
    Delete(u32),
}

pub(crate) fn encode_row(order: u64, binding: &Binding) -> Result<Vec<u8>, CodecError> {
    codec::encode_brief(&(order, Brief::of(binding)))
}

pub(crate) fn decode_row(bytes: &[u8]) -> Result<Row, CodecError> {
    if !codec::is_brief(bytes) {
        return codec::decode(bytes);
    }
    let (order, brief): (u64, Brief) = codec::decode_brief(bytes)?;
    Ok(Row { order, binding: brief.binding()? })
}

pub(crate) fn encode_entries(entries: &[Entry]) -> Result<Vec<u8>, CodecError> {
    let brief = |entry: &Entry| match entry {
        Entry::Put(binding) => BriefEntry::Put(Brief::of(binding)),
        Entry::Delete(address) => BriefEntry::Delete(u32::from(*address)),
    };
    codec::encode_brief(&entries.iter().map(brief).collect::<Vec<_>>())
}

pub(crate) fn decode_entries(bytes: &[u8]) -> Result<Vec<Entry>, CodecError> {
    if !codec::is_brief(bytes) {
        return codec::decode(bytes);
    }
    let entries: Vec<BriefEntry> = codec::decode_brief(bytes)?;
    let whole = |entry| match entry {
        BriefEntry::Put(brief) => brief.binding().map(|binding| Entry::Put(Arc::new(binding))),
        BriefEntry::Delete(address) => Ok(Entry::Delete(Ipv4Addr::from(address))),
    };
    entries.into_iter().map(whole).collect()
}

impl Moment {
    fn of(at: Timestamp) -> Moment {
        Moment(at.as_second(), at.subsec_nanosecond())
    }

    fn timestamp(&self) -> Result<Timestamp, CodecError> {
        Timestamp::new(self.0, self.1).map_err(|error| CodecError::Decode(error.to_string()))
    }
}

impl Brief {
    fn of(binding: &Binding) -> Brief {
        let hold = match &binding.hold {
            Hold::Declined => BriefHold::Declined,
            Hold::Bound { client: ClientKey::Mac(client), mac } if client == mac => BriefHold::Mac(mac.0),
            Hold::Bound { client: ClientKey::Mac(client), mac } => BriefHold::OtherMac(client.0, mac.0),
            Hold::Bound { client: ClientKey::Identifier(bytes), mac } => BriefHold::Identifier(bytes.clone(), mac.0),
        };
        let (since, expires) = (Moment::of(binding.since), Moment::of(binding.expires));
        Brief { address: u32::from(binding.address), since, expires, hold }
    }

    fn binding(self) -> Result<Binding, CodecError> {
        let bound = |client, mac| Hold::Bound { client, mac: Mac(mac) };
        let hold = match self.hold {
            BriefHold::Declined => Hold::Declined,
            BriefHold::Mac(mac) => bound(ClientKey::Mac(Mac(mac)), mac),
            BriefHold::OtherMac(client, mac) => bound(ClientKey::Mac(Mac(client)), mac),
            BriefHold::Identifier(bytes, mac) => bound(ClientKey::Identifier(bytes), mac),
        };
        let (since, expires) = (self.since.timestamp()?, self.expires.timestamp()?);
        Ok(Binding { address: Ipv4Addr::from(self.address), hold, since, expires })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn moment()(second in Timestamp::MIN.as_second() + 1..Timestamp::MAX.as_second(), nano in 0..1_000_000_000) -> Timestamp {
            Timestamp::new(second, nano).expect("in range")
        }
    }

    fn hold() -> impl Strategy<Value = Hold> {
        let bound = |client, mac| Hold::Bound { client, mac: Mac(mac) };
        prop_oneof![
            Just(Hold::Declined),
            any::<[u8; 6]>().prop_map(move |mac| bound(ClientKey::Mac(Mac(mac)), mac)),
            any::<[[u8; 6]; 2]>().prop_map(move |[client, mac]| bound(ClientKey::Mac(Mac(client)), mac)),
            any::<(Vec<u8>, [u8; 6])>().prop_map(move |(bytes, mac)| bound(ClientKey::Identifier(bytes), mac)),
        ]
    }

    prop_compose! {
        fn binding()(address in any::<u32>(), hold in hold(), since in moment(), expires in moment()) -> Binding {
            Binding { address: Ipv4Addr::from(address), hold, since, expires }
        }
    }

    /// As schema 4 wrote a row.
    #[derive(Serialize)]
    struct NamedRow<'a> {
        order: u64,
        binding: &'a Binding,
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_so_is_what_schema_4_wrote(order in any::<u64>(), binding in binding()) {
            let named = codec::encode(&NamedRow { order, binding: &binding }).expect("written");
            let brief = encode_row(order, &binding).expect("written");
            prop_assert!(brief.len() < named.len());
            for bytes in [named, brief] {
                let row = decode_row(&bytes).expect("read");
                prop_assert_eq!((row.order, &row.binding), (order, &binding));
            }
            let entries = vec![Entry::Delete(binding.address), Entry::Put(Arc::new(binding))];
            for bytes in [codec::encode(&entries).expect("written"), encode_entries(&entries).expect("written")] {
                prop_assert_eq!(&decode_entries(&bytes).expect("read"), &entries);
            }
        }

        #[test]
        fn damaged_bytes_are_an_error_and_nothing_worse(bytes in any::<Vec<u8>>(), cut in any::<prop::sample::Index>(), binding in binding()) {
            let _ = (decode_row(&bytes).is_ok(), decode_entries(&bytes).is_ok());
            let whole = encode_row(7, &binding).expect("written");
            prop_assert!(decode_row(&whole[..cut.index(whole.len())]).is_err());
        }
    }

    #[test]
    fn a_lease_by_mac_address_takes_few_bytes() {
        let (mac, at) = (Mac([0x52, 0x54, 0, 1, 2, 3]), Timestamp::new(1_800_000_000, 123_456_789).expect("a moment"));
        let hold = Hold::Bound { client: ClientKey::Mac(mac), mac };
        let binding = Binding { address: Ipv4Addr::new(10, 0, 0, 1), hold, since: at, expires: at };
        assert!(encode_row(100_000, &binding).expect("written").len() <= 56);
    }
}
