//! The database over TCP and TLS.

use super::*;
use sha2::{Digest, Sha256};
use std::path::Path;

struct Issued {
    pem: String,
    der: Vec<u8>,
    key: rcgen::KeyPair,
}

fn authority(name: &str) -> (Issued, rcgen::Issuer<'static, rcgen::KeyPair>) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut parameters = rcgen::CertificateParams::new(vec![]).expect("parameters");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
    let certificate = parameters.self_signed(&key).expect("a certificate");
    let issued = Issued { pem: certificate.pem(), der: certificate.der().to_vec(), key };
    let key = rcgen::KeyPair::from_pem(&issued.key.serialize_pem()).expect("the key");
    (issued, rcgen::Issuer::new(parameters, key))
}

fn issue(names: &[&str], issuer: &rcgen::Issuer<'_, rcgen::KeyPair>) -> Issued {
    let key = rcgen::KeyPair::generate().expect("a key");
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let parameters = rcgen::CertificateParams::new(names).expect("parameters");
    let certificate = parameters.signed_by(&key, issuer).expect("a certificate");
    Issued { pem: certificate.pem(), der: certificate.der().to_vec(), key }
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    std::fs::write(&file, text).expect("a file");
    file
}

/// The port that the database has taken, from its log.
fn port(peer: &Peer) -> u16 {
    let find = || {
        let log = peer.log("ovsdb.log");
        let line = log.lines().find(|line| line.contains("listening on port"))?;
        line.rsplit(' ').next()?.trim().parse().ok()
    };
    peer.until("the database's port", || find().is_some());
    find().expect("a port")
}

#[tokio::test]
async fn the_database_is_reached_by_tcp() {
    let peer = Peer::listening(&["n1"], |_| vec!["--remote=ptcp:0:127.0.0.1".into()]);
    let address = Address::Tcp { host: "127.0.0.1".into(), port: port(&peer) };
    let switch = OvsdbSwitch::new(config(address), Arc::default()).expect("a switch");
    switch.set("n1", &access(10)).await.expect("set");
    assert_eq!(peer.columns("n1"), "access 10 []");
}

#[tokio::test]
async fn only_the_database_with_the_right_certificate_is_talked_to() {
    let (ca, issuer) = authority("the rack's CA");
    let server = issue(&["127.0.0.1"], &issuer);
    let own = issue(&["leasehold"], &issuer);
    let pin: [u8; 32] = Sha256::digest(&server.der).into();
    let (other_ca, _) = authority("another CA");
    let peer = Peer::listening(&["n1"], |folder| {
        let key = write(folder, "server-key.pem", &server.key.serialize_pem());
        let certificate = write(folder, "server.pem", &server.pem);
        let ca = write(folder, "ca.pem", &ca.pem);
        let named = |option: &str, file: PathBuf| format!("--{option}={}", file.display());
        vec![
            "--remote=pssl:0:127.0.0.1".into(),
            named("private-key", key),
            named("certificate", certificate),
            named("ca-cert", ca),
        ]
    });
    let folder = tempfile::tempdir().expect("a folder");
    let ours = ClientCertificate {
        certificate: write(folder.path(), "own.pem", &own.pem),
        key: write(folder.path(), "own-key.pem", &own.key.serialize_pem()),
    };
    let number = port(&peer);
    let switch = |host: &str, trust: Trust, certificate: Option<ClientCertificate>| {
        let address = Address::Ssl { host: host.into(), port: number };
        let config = Config { trust: Some(trust), certificate, ..config(address) };
        OvsdbSwitch::new(config, Arc::default()).expect("a switch")
    };
    let by_ca = |name: &str, issued: &Issued| Trust::Ca(write(folder.path(), name, &issued.pem));

    switch("127.0.0.1", Trust::Pinned(pin), Some(ours.clone())).set("n1", &access(10)).await.expect("pinned");
    switch("127.0.0.1", by_ca("ca.pem", &ca), Some(ours.clone())).set("n1", &access(11)).await.expect("by its CA");
    assert_eq!(peer.columns("n1"), "access 11 []");

    let mut wrong = pin;
    wrong[31] ^= 1;
    for (host, trust) in [
        ("127.0.0.1", Trust::Pinned(wrong)),
        ("127.0.0.1", by_ca("other.pem", &other_ca)),
        ("localhost", by_ca("ca.pem", &ca)),
    ] {
        let error = switch(host, trust, Some(ours.clone())).set("n1", &access(12)).await.expect_err("not trusted");
        assert!(matches!(error, SwitchError::Certificate { .. }) && !error.may_pass(), "{error}");
    }
    // It knows us by our certificate, too.
    let error = switch("127.0.0.1", Trust::Pinned(pin), None).set("n1", &access(12)).await.expect_err("a stranger");
    assert!(matches!(error, SwitchError::Unreachable { .. }), "{error}");
    assert_eq!(peer.columns("n1"), "access 11 []");
}
