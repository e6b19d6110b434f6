//! The appliance's side of the agent's command API: one request, one connection, one deadline.
//!
//! The agent's own certificate came in its authenticated heartbeat and is the only one accepted. The wire is
//! ironic-python-agent's, so that either agent works.

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use leasehold_domain::node::AgentContact;
use leasehold_drivers::tls;
use leasehold_wire::agent::{CommandList, CommandRequest, CommandResult, Fault};
use serde_json::{Map, Value};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// One request, connection and answer included. Commands are started, not waited for.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);
/// An agent's answer is small; more is not read.
const BODY_LIMIT: usize = 4 << 20;

/// Why a request to an agent brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    /// Worth another try.
    #[error("the agent at {url} does not answer: {detail}")]
    Silent { url: String, detail: String },
    /// It does something else at the moment.
    #[error("the agent at {url} is busy with another command")]
    Busy { url: String },
    /// It understood and refuses.
    #[error("the agent at {url} refuses: {detail}")]
    Refused { url: String, detail: String },
}

/// A way to one agent.
pub(crate) struct AgentClient<'a> {
    contact: &'a AgentContact,
    token: String,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl<'a> AgentClient<'a> {
    pub(crate) fn new(contact: &'a AgentContact, token: String) -> AgentClient<'a> {
        AgentClient { contact, token }
    }

    /// All commands that the agent still remembers, oldest first.
    pub(crate) async fn commands(&self) -> Result<Vec<CommandResult>, AgentError> {
        // Results of commands are for us only, so our agent asks for the token here, too; the stock one ignores it.
        let path = format!("/v1/commands/?agent_token={}", self.token);
        let list: CommandList = self.request(Method::GET, &path, Bytes::new()).await?;
        Ok(list.commands)
    }

    /// Starts a command; it goes on after the answer.
    pub(crate) async fn start(&self, name: &str, params: Map<String, Value>) -> Result<CommandResult, AgentError> {
        let request = CommandRequest { name: name.to_owned(), params };
        let body = serde_json::to_vec(&request).map_err(|error| self.silent(error))?;
        let path = format!("/v1/commands/?wait=false&agent_token={}", self.token);
        self.request(Method::POST, &path, body.into()).await
    }

    fn silent(&self, detail: impl std::fmt::Display) -> AgentError {
        AgentError::Silent { url: self.contact.callback_url.clone(), detail: detail.to_string() }
    }

    async fn request<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, AgentError> {
        let exchange = tokio::time::timeout(REQUEST_LIMIT, self.exchange(method, path, body));
        let (status, answer) =
            exchange.await.map_err(|_| self.silent(format!("no answer within {} s", REQUEST_LIMIT.as_secs())))??;
        if status.is_success() {
            return serde_json::from_slice(&answer).map_err(|error| self.silent(format!("unreadable answer: {error}")));
        }
        let url = self.contact.callback_url.clone();
        match status {
            StatusCode::CONFLICT => Err(AgentError::Busy { url }),
            _ if status.is_client_error() => {
                let fault = serde_json::from_slice::<Fault>(&answer).map(|fault| fault.faultstring);
                Err(AgentError::Refused { url, detail: fault.unwrap_or_else(|_| status.to_string()) })
            }
            _ => Err(self.silent(status)),
        }
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), AgentError> {
        let base: Uri = self.contact.callback_url.parse().map_err(|error| self.silent(error))?;
        let host = base.host().ok_or_else(|| self.silent("its URL has no host"))?.to_owned();
        let secure = base.scheme_str() != Some("http");
        let port = base.port_u16().unwrap_or(9999);
        let socket = TcpStream::connect((host.as_str(), port)).await.map_err(|error| self.silent(error))?;
        socket.set_nodelay(true).map_err(|error| self.silent(error))?;
        let stream: Box<dyn Stream> = if secure {
            let pem = self.contact.certificate.as_deref().ok_or_else(|| self.silent("it gave no certificate"))?;
            let connector = tls::connector_for_certificate(pem).map_err(|error| self.silent(error))?;
            let name = tls::server_name(&host).map_err(|error| self.silent(error))?;
            Box::new(connector.connect(name, socket).await.map_err(|error| self.silent(error))?)
        } else {
            Box::new(socket)
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.silent(error))?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, format!("{host}:{port}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.silent(error))?;
        let answer = sender.send_request(request).await.map_err(|error| self.silent(error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), BODY_LIMIT).collect().await.map_err(|error| self.silent(error))?;
        driver.abort();
        Ok((status, body.to_bytes()))
    }
}
