//! The command line's way to the running appliance: HTTP over its Unix socket.

use anyhow::{Context, bail};
use http::{HeaderValue, Method, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::task::{self, Poll, ready};
use tokio::fs::File;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::UnixStream;

/// Bytes of a file that are sent at a time.
const CHUNK: usize = 1 << 20;

/// What goes with a request.
pub(crate) enum Content {
    None,
    Json(Value),
    /// A file and its length.
    File(File, u64),
}

/// A file as the body of a request.
struct FileBody {
    file: File,
    left: u64,
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let this = self.get_mut();
        let wanted = usize::try_from(this.left).map_or(CHUNK, |left| left.min(CHUNK));
        if wanted == 0 {
            return Poll::Ready(None);
        }
        let mut bytes = vec![0; wanted];
        let mut buffer = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut this.file).poll_read(context, &mut buffer))?;
        let count = buffer.filled().len();
        if count == 0 {
            let shorter = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the file became shorter");
            return Poll::Ready(Some(Err(shorter)));
        }
        bytes.truncate(count);
        this.left -= count as u64;
        Poll::Ready(Some(Ok(Frame::data(bytes.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Gets a document; a refusal of the appliance becomes an error with its words.
pub(crate) async fn get(socket: &Path, path: &str) -> anyhow::Result<Value> {
    send(socket, Method::GET, path, Content::None).await
}

/// Sends a request; the document that comes back, or null where there is none.
pub(crate) async fn send(socket: &Path, method: Method, path: &str, content: Content) -> anyhow::Result<Value> {
    let body = ask(socket, method, path, content, &[]).await?;
    Ok(serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// Sends a request with these headers; the body that comes back. A refusal becomes an error with its words.
pub(crate) async fn ask(
    socket: &Path,
    method: Method,
    path: &str,
    content: Content,
    headers: &[(&str, &str)],
) -> anyhow::Result<Bytes> {
    let stream = UnixStream::connect(socket).await.with_context(|| {
        format!(
            "no appliance answers at {}: is it running (systemctl status leasehold), and may you read the socket?",
            socket.display()
        )
    })?;
    let (kind, body): (&str, BoxBody<Bytes, std::io::Error>) = match content {
        Content::None => ("", Empty::new().map_err(|never| match never {}).boxed()),
        Content::Json(value) => {
            let text = Bytes::from(value.to_string());
            ("application/json", Full::new(text).map_err(|never| match never {}).boxed())
        }
        Content::File(mut file, left) => {
            file.set_max_buf_size(CHUNK);
            ("application/octet-stream", FileBody { file, left }.boxed())
        }
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    poll_fn(|context| sender.poll_ready(context)).await?;
    let mut request = http::Request::builder().method(method).uri(path).header(header::HOST, "local");
    if !kind.is_empty() {
        request = request.header(header::CONTENT_TYPE, kind);
    }
    for (name, value) in headers {
        // Names of projects are not only of ASCII.
        request = request.header(*name, HeaderValue::from_bytes(value.as_bytes())?);
    }
    let answer = sender.send_request(request.body(body)?).await;
    let answer = answer.context("the appliance hung up: only root and its own user may ask")?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    driver.abort();
    if status.is_success() {
        return Ok(body);
    }
    match words(&serde_json::from_slice(&body).unwrap_or(Value::Null)) {
        Some(text) => bail!("{text}"),
        None => bail!("the appliance answers {status}"),
    }
}

/// What a refusal says: as Ironic writes it, a JSON object inside a string, or as esi-leap does, plainly.
fn words(document: &Value) -> Option<String> {
    let inner = document.get("error_message").and_then(Value::as_str).unwrap_or_default();
    let inner: Value = serde_json::from_str(inner).unwrap_or(Value::Null);
    let text = inner.get("faultstring").or_else(|| document.get("faultstring"));
    text.and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn refusals_of_all_services_are_told_in_their_words() {
        let inner = json!({"faultstring": "Node n1 could not be found."}).to_string();
        assert_eq!(words(&json!({"error_message": inner})).as_deref(), Some("Node n1 could not be found."));
        assert_eq!(words(&json!({"faultcode": "Client", "faultstring": "No."})).as_deref(), Some("No."));
        assert_eq!(words(&Value::Null), None);
        assert_eq!(words(&json!({"error_message": "plain"})), None);
    }
}
