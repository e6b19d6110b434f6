//! The command line's way to the running appliance: HTTP over its Unix socket.

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::path::Path;
use tokio::net::UnixStream;

/// Gets a document; a refusal of the appliance becomes an error with its words.
pub(crate) async fn get(socket: &Path, path: &str) -> anyhow::Result<Value> {
    let stream = UnixStream::connect(socket).await.with_context(|| {
        format!(
            "no appliance answers at {}: is it running (systemctl status leasehold), and may you read the socket?",
            socket.display()
        )
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = http::Request::get(path).header(http::header::HOST, "local").body(Empty::<Bytes>::new())?;
    let answer =
        sender.send_request(request).await.context("the appliance hung up: only root and its own user may ask")?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    driver.abort();
    let document: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    if status.is_success() {
        return Ok(document);
    }
    let inner = document.get("error_message").and_then(Value::as_str).unwrap_or_default();
    let fault: Value = serde_json::from_str(inner).unwrap_or(Value::Null);
    match fault.get("faultstring").and_then(Value::as_str) {
        Some(text) => bail!("{text}"),
        None => bail!("the appliance answers {status}"),
    }
}
