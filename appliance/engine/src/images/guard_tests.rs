//! Addresses in every spelling, and names whose server says one thing and then another.

use super::*;
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;

fn network(text: &str) -> Network {
    text.parse().expect("a network")
}

fn guard() -> Guard {
    let mut forbidden = never_fetched_from();
    forbidden.extend([network("10.9.0.0/24"), network("fd00::1/64"), Network::only([192, 0, 2, 1].into())]);
    Guard::new(&forbidden, &[network("10.9.0.64/28"), network("192.0.2.0/24")])
}

impl Guard {
    /// A guard that asks this instead of the system's resolver.
    fn asking(mut self, lookup: impl Fn(&str) -> Vec<IpAddr> + Send + Sync + 'static) -> Guard {
        self.lookup = Arc::new(move |name| {
            let found = lookup(name);
            Box::pin(async move { Ok(found) })
        });
        self
    }
}

#[test]
fn inner_addresses_are_refused_in_every_spelling() {
    for bad in [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "169.254.169.254",
        "10.9.0.7",
        "255.255.255.255",
        "250.1.2.3",
        "224.0.0.1",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::a09:1]",
        "[64:ff9b:1::1]",
        "[2002:7f00:1::]",
        "[2002:a9fe:a9fe::1]",
        "[2001:0:a09:1::]",
        "[fd00::5]",
        "[::ffff:10.9.0.1]",
    ] {
        assert!(guard().check_host(bad).is_err(), "{bad}");
    }
    for good in ["10.9.1.1", "192.0.2.2", "[2001:db8::1]", "[fd01::1]", "[2002:c000:202::]", "images.example"] {
        assert_eq!(guard().check_host(good), Ok(()), "{good}");
    }
}

#[test]
fn the_narrower_network_decides() {
    // A mirror on the network of the BMCs is let through, its neighbours are not.
    assert_eq!(guard().check_host("10.9.0.70"), Ok(()));
    assert!(guard().check_host("10.9.0.80").is_err());
    // The box itself stays shut, although the network around it is open.
    assert_eq!(guard().check_host("192.0.2.2"), Ok(()));
    assert!(guard().check_host("192.0.2.1").is_err());
    for bad in ["", "10.0.0.0/33", "10.0.0.0/", "box", "10.0.0/8", "::/129", "10.0.0.0/8/8"] {
        assert_eq!(bad.parse::<Network>(), Err(NoNetwork), "{bad}");
    }
    assert!(
        network("10.0.0.0/8").overlaps(network("10.9.0.1")) && !network("10.0.0.0/8").overlaps(network("11.0.0.0/8"))
    );
}

#[tokio::test]
async fn a_name_is_refused_for_what_it_resolves_to() {
    let refused = guard().resolve("localhost").await.expect_err("a refusal");
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    // One inner address among others is enough: which of them is connected to is not for the name's server to choose.
    let mixed = guard().asking(|_| vec![[192, 0, 2, 9].into(), [169, 254, 169, 254].into()]);
    assert!(mixed.resolve("images.example").await.is_err());
    let mapped = guard().asking(|_| vec!["::ffff:10.9.0.1".parse().expect("an address")]);
    assert!(mapped.resolve("images.example").await.is_err());
}

#[tokio::test]
async fn a_name_that_is_bound_anew_between_check_and_connection_leads_nowhere() {
    let outer = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = outer.local_addr().expect("an address").port();
    let inner = std::net::TcpListener::bind(("127.0.0.66", port)).expect("the same port");
    inner.set_nonblocking(true).expect("a listener");
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    // The first question is answered well; every later one leads inside.
    let guard = Guard::new(&[network("127.0.0.66")], &[]).asking(move |_| {
        let first = counter.fetch_add(1, Ordering::SeqCst) == 0;
        vec![IpAddr::from(if first { [127, 0, 0, 1] } else { [127, 0, 0, 66] })]
    });
    let mut connector = HttpConnector::new_with_resolver(guard);
    let place: Uri = format!("http://images.example:{port}/x").parse().expect("a URL");
    let connection = connector.call(place.clone()).await.expect("connected");
    assert_eq!(connection.inner().peer_addr().expect("connected").ip(), IpAddr::from([127, 0, 0, 1]));
    assert_eq!(asked.load(Ordering::SeqCst), 1, "asked once: what was checked is what is connected to");
    assert!(connector.call(place).await.is_err(), "the next request is checked anew");
    assert!(inner.accept().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock), "somebody came to it");
}

/// A spelling of an IPv4 address that URLs or the C library take for it.
fn spelt(address: Ipv4Addr, how: u8, bases: [u8; 4]) -> String {
    let [a, b, c, d] = address.octets();
    let number = |value: u32, base: u8| match base % 3 {
        0 => value.to_string(),
        1 => format!("{value:#x}"),
        _ => format!("0{value:o}"),
    };
    let part = |at: usize, value: u32| number(value, bases[at]);
    let rest = |octets: &[u8]| octets.iter().fold(0, |sum, octet| (sum << 8) | u32::from(*octet));
    let (high, low) = (rest(&[a, b]), rest(&[c, d]));
    match how % 9 {
        0 => address.to_string(),
        1 => format!("{}.{}.{}.{}", part(0, a.into()), part(1, b.into()), part(2, c.into()), part(3, d.into())),
        2 => format!("{}.{}.{}", part(0, a.into()), part(1, b.into()), part(2, low)),
        3 => format!("{}.{}", part(0, a.into()), part(1, rest(&[b, c, d]))),
        4 => part(0, address.into()),
        5 => format!("[::ffff:{address}]"),
        6 => format!("[0:0:0:0:0:FFFF:{high:X}:{low:x}]"),
        7 => format!("[64:ff9b::{high:x}:{low:X}]"),
        _ => format!("[2002:{high:x}:{low:x}::1]"),
    }
}

/// What the guard says to the host of a URL, as a fetch asks it: first as text, then, if it is a name, by what it is
/// resolved to.
fn verdict(url: &str) -> Result<(), String> {
    let place: Uri = url.parse().map_err(|_| "no URL".to_owned())?;
    let host = place.host().ok_or("no host")?;
    let guard = guard();
    guard.check_host(host)?;
    if host.starts_with('[') || host.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(guard.resolve(host)).map(|_| ()).map_err(|error| error.to_string())
}

fn any_inner() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        any::<[u8; 3]>().prop_map(|[b, c, d]| [127, b, c, d]),
        any::<[u8; 2]>().prop_map(|[c, d]| [169, 254, c, d]),
        (0_u8..64).prop_map(|d| [10, 9, 0, d]),
        any::<[u8; 3]>().prop_map(|[b, c, d]| [0, b, c, d]),
        (224_u8.., any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| [a, b, c, d]),
    ]
    .prop_map(Ipv4Addr::from)
}

fn any_outer() -> impl Strategy<Value = Ipv4Addr> {
    (1_u8..100, any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| Ipv4Addr::new(if a == 10 { 11 } else { a }, b, c, d))
}

/// What stands around the host.
fn around(host: &str, how: u8) -> String {
    match how % 6 {
        0 => format!("http://{host}/"),
        1 => format!("http://{host}:8080/x"),
        2 => format!("https://images.example@{host}/x"),
        3 => format!("http://u:p@{host}:1/?a=images.example"),
        4 => format!("HTTP://{host}?@images.example/"),
        _ => format!("http://{host}/x@images.example/"),
    }
}

proptest! {
    #[test]
    fn a_network_holds_what_shares_its_prefix(a: u32, b: u32, prefix in 0_u8..=40) {
        let network = Network::around(Ipv4Addr::from(a).into(), prefix);
        let bits = u32::from(prefix).min(32);
        let same = bits == 0 || a >> (32 - bits) == b >> (32 - bits);
        prop_assert_eq!(network.contains(Ipv4Addr::from(b).into()), same);
    }

    #[test]
    fn an_inner_address_is_refused_however_it_is_spelt(
        address in any_inner(), how: u8, bases: [u8; 4], place: u8,
    ) {
        let url = around(&spelt(address, how, bases), place);
        prop_assert!(verdict(&url).is_err(), "{}", url);
    }

    #[test]
    fn an_outer_address_is_taken_however_it_is_spelt(
        address in any_outer(), how: u8, bases: [u8; 4], place: u8,
    ) {
        let url = around(&spelt(address, how, bases), place);
        prop_assert_eq!(verdict(&url), Ok(()), "{}", url);
    }

    #[test]
    fn any_text_is_a_network_or_none(text in "[0-9a-f.:/]{0,24}") {
        if let Ok(network) = text.parse::<Network>() {
            prop_assert!(network.contains(network.address));
        }
    }
}
