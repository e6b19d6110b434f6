//! Against peers that are no switch, or a bad one. A real one is in `peer_tests`.

use super::*;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

const IDLE: u16 = 4000;

pub(super) fn vlan(number: u16) -> Vlan {
    Vlan::new(number).expect("a VLAN")
}

pub(super) fn config(address: Address) -> Config {
    let ms = Duration::from_millis;
    // Long enough for a busy machine, short enough where a test waits for the end of it.
    let limits = Limits { connect: ms(5000), answer: ms(10_000), apply: ms(10_000) };
    Config { name: "tor1".into(), address, trust: None, certificate: None, bridge: None, idle: vlan(IDLE), limits }
}

fn hasty(path: &Path) -> OvsdbSwitch {
    let mut config = config(Address::Unix(path.to_owned()));
    config.limits.answer = Duration::from_millis(200);
    OvsdbSwitch::new(config, Arc::default()).expect("a switch")
}

/// A peer that treats each connection so, and the switch that talks to it.
fn against<F>(treat: impl Fn(UnixStream) -> F + Send + 'static) -> (OvsdbSwitch, Peer)
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("db.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let peer = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // It ends where we end the connection.
            drop(tokio::spawn(treat(stream)));
        }
    });
    (OvsdbSwitch::new(config(Address::Unix(path)), Arc::default()).expect("a switch"), Peer { peer, folder })
}

struct Peer {
    peer: tokio::task::JoinHandle<()>,
    folder: tempfile::TempDir,
}

impl Peer {
    fn hasty(&self) -> OvsdbSwitch {
        hasty(&self.folder.path().join("db.sock"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.peer.abort();
    }
}

/// Reads one request, which comes in one piece.
async fn request(stream: &mut UnixStream) -> std::io::Result<Value> {
    let mut buffer = vec![0; 65536];
    let length = stream.read(&mut buffer).await?;
    serde_json::from_slice(&buffer[..length]).map_err(std::io::Error::other)
}

async fn reply(stream: &mut UnixStream, id: &Value, result: Value) -> std::io::Result<()> {
    let text = json!({"id": id, "result": result, "error": null}).to_string();
    stream.write_all(text.as_bytes()).await
}

/// A database with a bridge and nothing in it, as [`selects`] asks for it.
fn empty() -> Value {
    json!([{"rows": []}, {"rows": []}, {"rows": []}, {"rows": []}])
}

#[tokio::test]
async fn a_peer_that_is_no_database_is_told() {
    let (switch, _peer) = against(async |mut stream| stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await);
    let error = switch.ports().await.expect_err("no database");
    assert!(matches!(error, SwitchError::Protocol { .. }), "{error}");
    assert!(error.to_string().contains("'tor1'") && error.to_string().contains("this is no OVSDB server"), "{error}");
}

#[tokio::test]
async fn an_endless_reply_is_given_up() {
    let (switch, _peer) = against(async |mut stream| {
        stream.write_all(b"{\"id\":1,\"result\":[\"").await?;
        loop {
            stream.write_all(&[b'x'; 65536]).await?;
        }
    });
    let error = switch.ports().await.expect_err("too long");
    assert!(error.to_string().contains("longer than 4194304 bytes"), "{error}");
}

#[tokio::test]
async fn endless_chatter_is_given_up() {
    let (switch, _peer) = against(async |mut stream| {
        loop {
            stream.write_all(br#"{"id":null,"method":"update","params":[]}"#).await?;
        }
    });
    let error = switch.ports().await.expect_err("chatter");
    assert!(error.to_string().contains("that nobody asked for"), "{error}");
}

#[tokio::test]
async fn silence_has_an_end_and_the_next_call_has_a_connection_of_its_own() {
    let first = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let (_, peer) = against(move |mut stream| {
        let silent = first.swap(false, std::sync::atomic::Ordering::SeqCst);
        async move {
            let asked = request(&mut stream).await?;
            if silent {
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await?;
                return Ok(());
            }
            reply(&mut stream, &asked["id"], empty()).await
        }
    });
    let switch = peer.hasty();
    let error = switch.ports().await.expect_err("silence");
    assert!(matches!(error, SwitchError::Unreachable { .. }) && error.may_pass(), "{error}");
    assert!(error.to_string().contains("no answer within 0.2 s"), "{error}");
    assert_eq!(switch.ports().await, Ok(vec![]));
}

#[tokio::test]
async fn nobody_there_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let switch = hasty(&folder.path().join("db.sock"));
    assert!(matches!(switch.ports().await, Err(SwitchError::Unreachable { .. })));
    let (switch, _peer) = against(async |stream| {
        drop(stream);
        Ok(())
    });
    let error = switch.set("p", &Wanted::idle()).await.expect_err("it hangs up");
    assert!(matches!(error, SwitchError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn an_echo_is_answered_while_nobody_asks() {
    let (switch, _peer) = against(async |mut stream| {
        let asked = request(&mut stream).await?;
        reply(&mut stream, &asked["id"], empty()).await?;
        stream.write_all(br#"{"id":"echo","method":"echo","params":[7]}"#).await?;
        let echoed = request(&mut stream).await?;
        if echoed != json!({"id": "echo", "result": [7], "error": null}) {
            return Err(std::io::Error::other("no echo"));
        }
        // Only who has answered gets what was asked next, on the same connection.
        let asked = request(&mut stream).await?;
        reply(&mut stream, &asked["id"], json!([{"rows": []}])).await?;
        let asked = request(&mut stream).await?;
        reply(&mut stream, &asked["id"], empty()).await?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.map(drop)
    });
    assert_eq!(switch.ports().await, Ok(vec![]));
    let short = switch.ports().await.expect_err("an answer with one part of four");
    assert!(matches!(short, SwitchError::Protocol { .. }), "{short}");
    assert_eq!(switch.ports().await, Ok(vec![]));
}

#[tokio::test]
async fn what_the_database_refuses_is_told_in_its_words() {
    let (switch, _peer) = against(async |mut stream| {
        let asked = request(&mut stream).await?;
        let error = json!({"error": "unknown database", "details": "Open_vSwitch"});
        let text = json!({"id": asked["id"], "result": null, "error": error}).to_string();
        stream.write_all(text.as_bytes()).await?;
        let asked = request(&mut stream).await?;
        reply(&mut stream, &asked["id"], json!([{"error": "permission error"}, null, null, null])).await?;
        request(&mut stream).await.map(drop)
    });
    let error = switch.ports().await.expect_err("refused");
    assert_eq!(error.to_string(), "the switch 'tor1' refuses: unknown database: Open_vSwitch");
    assert!(!error.may_pass());
    let error = switch.ports().await.expect_err("refused");
    assert_eq!(error.to_string(), "the switch 'tor1' refuses: permission error");
}

#[test]
fn what_cannot_be_trusted_is_no_switch() {
    let refused = |config| match OvsdbSwitch::new(config, Arc::default()) {
        Ok(_) => panic!("a switch"),
        Err(error) => error.to_string(),
    };
    let ssl = config("ssl:192.0.2.1".parse().expect("an address"));
    assert!(refused(ssl.clone()).contains("neither a pin nor a CA"));
    let missing = Config { trust: Some(Trust::Ca("/nonexistent/ca.pem".into())), ..ssl };
    assert!(refused(missing).contains("/nonexistent/ca.pem is not usable"));
    let mut plain = config("tcp:192.0.2.1".parse().expect("an address"));
    plain.trust = Some(Trust::Pinned([0; 32]));
    assert!(refused(plain).contains("is not ssl:"));
}
