//! Follows the appliance's events over its Unix socket: server-sent events, as a browser reads them.

use anyhow::{Context, bail};
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::task::AbortHandle;

/// The appliance says something every fifteen seconds; after so long without a word it has gone.
const SILENCE: Duration = Duration::from_secs(60);
/// Bytes of one message; a document of an event is far smaller.
const LARGEST: usize = 1 << 20;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Where to go on from: `Last-Event-ID`.
    pub(crate) id: String,
    /// `message`, or what else the appliance calls it.
    pub(crate) kind: String,
    /// Empty: the stream lives, and this is where it is.
    pub(crate) data: String,
}

/// The appliance cannot tell events from this place on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Gone(String);

/// A stream of events.
pub(crate) struct Follow {
    body: Incoming,
    text: Vec<u8>,
    driver: AbortHandle,
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Follow {
    /// Opens the stream of a path, from `last` on.
    pub(crate) async fn open(socket: &Path, path: &str, last: Option<&str>) -> anyhow::Result<Follow> {
        let stream = UnixStream::connect(socket).await.with_context(|| {
            format!(
                "no appliance answers at {}: is it running (systemctl status leasehold), and may you read the socket?",
                socket.display()
            )
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection).abort_handle();
        let mut request = http::Request::builder()
            .method(Method::GET)
            .uri(path)
            .header(header::HOST, "local")
            .header(header::ACCEPT, "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await;
        let answer = answer.context("the appliance hung up: it does not let this user ask")?;
        let status = answer.status();
        let follow = Follow { body: answer.into_body(), text: Vec::new(), driver };
        if status.is_success() {
            return Ok(follow);
        }
        let words = follow.words().await.unwrap_or_else(|| format!("the appliance answers {status}"));
        // Too old, or of another appliance: one that was set up anew.
        if status == StatusCode::GONE || (status == StatusCode::BAD_REQUEST && words.starts_with("The cursor")) {
            return Err(Gone(words).into());
        }
        bail!("{words}")
    }

    /// What a refusal says.
    async fn words(mut self) -> Option<String> {
        let mut bytes = Vec::new();
        while let Some(frame) = self.body.frame().await {
            bytes.extend_from_slice(&frame.ok()?.into_data().ok()?);
            if bytes.len() > LARGEST {
                return None;
            }
        }
        let document: Value = serde_json::from_slice(&bytes).ok()?;
        let inner: Value = serde_json::from_str(document.get("error_message")?.as_str()?).ok()?;
        Some(inner.get("faultstring")?.as_str()?.to_owned())
    }

    /// The next message; `None`: the appliance has ended the stream.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Message>> {
        loop {
            if let Some(message) = take(&mut self.text)? {
                return Ok(Some(message));
            }
            let frame = tokio::time::timeout(SILENCE, self.body.frame()).await;
            match frame.context("the appliance says nothing any more")? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(bytes) = frame?.into_data() {
                        self.text.extend_from_slice(&bytes);
                    }
                }
            }
            if self.text.len() > LARGEST {
                bail!("the appliance sends no events");
            }
        }
    }
}

/// Takes the first message that is there in whole.
fn take(text: &mut Vec<u8>) -> anyhow::Result<Option<Message>> {
    let Some(end) = text.windows(2).position(|two| two == b"\n\n") else { return Ok(None) };
    let rest = text.split_off(end + 2);
    let whole = String::from_utf8(std::mem::replace(text, rest)).context("the appliance sends no text")?;
    let mut message = Message { id: String::new(), kind: "message".into(), data: String::new() };
    for line in whole.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => value.clone_into(&mut message.id),
            "event" => value.clone_into(&mut message.kind),
            "data" if message.data.is_empty() => value.clone_into(&mut message.data),
            "data" => message.data = format!("{}\n{value}", message.data),
            _ => {}
        }
    }
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_as_they_become_whole() {
        let mut text = b"id: 1\n: \n\nid: 2\ndata: {\"a\":\ndata: 1}\n\nevent: lost\nda".to_vec();
        let message =
            |id: &str, kind: &str, data: &str| Some(Message { id: id.into(), kind: kind.into(), data: data.into() });
        assert_eq!(take(&mut text).expect("text"), message("1", "message", ""));
        assert_eq!(take(&mut text).expect("text"), message("2", "message", "{\"a\":\n1}"));
        assert_eq!(take(&mut text).expect("text"), None);
        text.extend_from_slice(b"ta: x\n\n");
        assert_eq!(take(&mut text).expect("text"), message("", "lost", "x"));
        assert!(text.is_empty());
        assert!(take(&mut b"data: \xff\n\n".to_vec()).is_err());
    }
}
