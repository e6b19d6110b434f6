//! Requests with credentials: a session where the BMC has them, Basic authentication otherwise.

use super::address::{Endpoint, quoted};
use super::http::{Ask, Client, Connector, Reply};
use super::tls::Trust;
use super::{Config, Limits};
use crate::bmc::BmcError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method, StatusCode, header};
use leasehold_protocols::redfish::{self, Link, ServiceRoot, SessionService};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub(super) const ROOT: &str = "/redfish/v1/";
const TOKEN: &str = "x-auth-token";
const MOST_REDIRECTS: usize = 4;
const MOST_BUSY_ANSWERS: usize = 2;
/// The longest wait that a busy BMC can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Ending a session is a courtesy with an end.
const LOGOUT: Duration = Duration::from_secs(5);

/// A conversation with one BMC.
pub(super) struct Session {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) limits: Limits,
    pub(super) system_id: Option<String>,
    /// Learnt once per conversation.
    pub(super) root: Option<ServiceRoot>,
    pub(super) system_path: Option<String>,
    client: Client,
    username: String,
    password: String,
    basic: HeaderValue,
    basic_only: bool,
    login: Login,
}

enum Login {
    /// Not tried yet in this conversation.
    None,
    Basic,
    Session(Token),
}

#[derive(Clone)]
struct Token {
    token: HeaderValue,
    /// What to delete at the end.
    path: Option<String>,
}

impl Session {
    pub(super) fn new(endpoint: Arc<Endpoint>, trust: Arc<Trust>, config: &Config) -> Result<Self, BmcError> {
        if config.username.contains(':') {
            return Err(endpoint.unsupported("a user name cannot contain a colon"));
        }
        let pair = STANDARD.encode(format!("{}:{}", config.username, config.password));
        let mut basic = HeaderValue::try_from(format!("Basic {pair}"))
            .map_err(|_| endpoint.unsupported("its user name or password is too odd for HTTP"))?;
        basic.set_sensitive(true);
        Ok(Session {
            client: Client::new(Connector::new(endpoint.clone(), trust, config.limits)),
            endpoint,
            limits: config.limits,
            system_id: config.system_id.clone(),
            root: None,
            system_path: None,
            username: config.username.clone(),
            password: config.password.clone(),
            basic,
            basic_only: config.basic_only,
            login: Login::None,
        })
    }

    /// Reads a resource and its entity tag.
    pub(super) async fn get<T: DeserializeOwned>(&mut self, link: &str) -> Result<(T, Option<String>), BmcError> {
        let path = self.endpoint.path_of(link)?;
        let ask = Ask::new(Method::GET, path);
        let reply = self.request(&ask).await?;
        if !reply.status.is_success() {
            return Err(self.refusal(&ask, &reply));
        }
        let resource = redfish::parse(&reply.body)
            .map_err(|why| self.endpoint.protocol(format!("the answer to {} {why}", ask.name())))?;
        Ok((resource, reply.header(header::ETAG).map(str::to_owned)))
    }

    /// Starts an action.
    pub(super) async fn post(&mut self, link: &str, body: &Value) -> Result<(), BmcError> {
        let ask = Ask::new(Method::POST, self.endpoint.path_of(link)?).json(body);
        let reply = self.request(&ask).await?;
        if reply.status.is_success() { Ok(()) } else { Err(self.refusal(&ask, &reply)) }
    }

    /// Changes a resource. With a precondition that fails (someone else changed it) or is missing, reads the
    /// resource again and tries once more.
    pub(super) async fn patch(&mut self, link: &str, body: &Value, etag: Option<&str>) -> Result<(), BmcError> {
        let path = self.endpoint.path_of(link)?;
        let ask = |etag: Option<&str>| {
            let mut ask = Ask::new(Method::PATCH, path.clone()).json(body);
            if let Some(etag) = etag.and_then(|etag| HeaderValue::try_from(etag).ok()) {
                ask.headers.insert(header::IF_MATCH, etag);
            }
            ask
        };
        let first = ask(etag);
        let mut reply = self.request(&first).await?;
        if matches!(reply.status, StatusCode::PRECONDITION_FAILED | StatusCode::PRECONDITION_REQUIRED) {
            let (current, header) = self.get::<redfish::ComputerSystem>(&path).await?;
            let tag = header.or_else(|| current.etag().map(str::to_owned)).unwrap_or_else(|| "*".to_owned());
            // A weak tag never matches (RFC 9110, 13.1.1), but some BMCs know no other and compare its inner part.
            reply = self.request(&ask(Some(tag.strip_prefix("W/").unwrap_or(&tag)))).await?;
        }
        if reply.status.is_success() { Ok(()) } else { Err(self.refusal(&first, &reply)) }
    }

    /// The service root, read without credentials where the BMC allows it.
    pub(super) async fn root(&mut self) -> Result<ServiceRoot, BmcError> {
        if let Some(root) = &self.root {
            return Ok(root.clone());
        }
        let ask = Ask::new(Method::GET, ROOT);
        let mut reply = self.follow(&ask, None).await?;
        if matches!(reply.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            reply = self.follow(&ask, Some((header::AUTHORIZATION, self.basic.clone()))).await?;
        }
        match reply.status {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED => return Err(self.refusal(&ask, &reply)),
            status => {
                let detail = format!("there is no Redfish service at {ROOT} ({status}): check address and port");
                return Err(self.endpoint.protocol(detail));
            }
        }
        let root: ServiceRoot = redfish::parse(&reply.body)
            .map_err(|why| self.endpoint.protocol(format!("the answer to {} {why}: is this a BMC?", ask.name())))?;
        self.root = Some(root.clone());
        Ok(root)
    }

    /// One request with credentials; a session that has ended is begun anew once.
    pub(super) async fn request(&mut self, ask: &Ask) -> Result<Reply, BmcError> {
        self.log_in().await?;
        let reply = self.follow(ask, Some(self.credentials())).await?;
        if reply.status != StatusCode::UNAUTHORIZED {
            return Ok(reply);
        }
        if matches!(self.login, Login::Session(_)) {
            self.login = Login::None;
            self.log_in().await?;
            let again = self.follow(ask, Some(self.credentials())).await?;
            if again.status != StatusCode::UNAUTHORIZED {
                return Ok(again);
            }
        }
        Err(self.refusal(ask, &reply))
    }

    fn credentials(&self) -> (header::HeaderName, HeaderValue) {
        match &self.login {
            Login::Session(token) => (header::HeaderName::from_static(TOKEN), token.token.clone()),
            _ => (header::AUTHORIZATION, self.basic.clone()),
        }
    }

    /// Follows redirects on the same host and waits for a busy BMC, both a few times.
    async fn follow(
        &mut self,
        ask: &Ask,
        credentials: Option<(header::HeaderName, HeaderValue)>,
    ) -> Result<Reply, BmcError> {
        let mut ask = ask.clone();
        ask.headers.extend(credentials.map(|(name, value)| (Some(name), value)));
        let (mut redirects, mut busy) = (0, 0);
        loop {
            let reply = self.client.exchange(&ask).await?;
            match reply.status {
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS if busy < MOST_BUSY_ANSWERS => {
                    busy += 1;
                    let asked = reply.header(header::RETRY_AFTER).and_then(|seconds| seconds.trim().parse().ok());
                    tokio::time::sleep(asked.map_or(self.limits.pause, Duration::from_secs).min(LONGEST_PAUSE)).await;
                }
                status if status.is_redirection() && status != StatusCode::NOT_MODIFIED => {
                    redirects += 1;
                    if redirects > MOST_REDIRECTS {
                        return Err(self.endpoint.protocol(format!("{} is redirected without end", ask.name())));
                    }
                    let kept = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
                    if !kept && ask.method != Method::GET {
                        return Err(self.endpoint.protocol(format!("{} is redirected as {status}", ask.name())));
                    }
                    ask.path = self.endpoint.path_of(reply.header(header::LOCATION).unwrap_or_default())?;
                }
                _ => return Ok(reply),
            }
        }
    }

    /// Begins a session, or settles for Basic where there is no session service.
    async fn log_in(&mut self) -> Result<(), BmcError> {
        if !matches!(self.login, Login::None) {
            return Ok(());
        }
        if self.basic_only {
            self.login = Login::Basic;
            return Ok(());
        }
        self.login = match self.sessions_path().await? {
            Some(path) => self.create_session(&path).await?,
            None => Login::Basic,
        };
        Ok(())
    }

    async fn sessions_path(&mut self) -> Result<Option<String>, BmcError> {
        let root = self.root().await?;
        if let Some(path) = root.sessions_link() {
            return self.endpoint.path_of(path).map(Some);
        }
        let Some(service) = root.session_service.path() else { return Ok(None) };
        let path = self.endpoint.path_of(service)?;
        let reply =
            self.follow(&Ask::new(Method::GET, path), Some((header::AUTHORIZATION, self.basic.clone()))).await?;
        // Whatever is wrong with the service (wrong credentials included): the next request tells it better.
        let service: Option<SessionService> =
            reply.status.is_success().then(|| redfish::parse(&reply.body).ok()).flatten();
        let Some(service) = service.filter(|service| service.service_enabled.as_deref() != Some("false")) else {
            return Ok(None);
        };
        service.sessions.path().map(|path| self.endpoint.path_of(path)).transpose()
    }

    async fn create_session(&mut self, path: &str) -> Result<Login, BmcError> {
        let ask = Ask::new(Method::POST, path).json(&json!({"UserName": self.username, "Password": self.password}));
        let reply = self.follow(&ask, None).await?;
        let full = ["SessionLimitExceeded", "CreateLimitReachedForResource"];
        match reply.status {
            status if status.is_success() => {}
            _ if full.iter().any(|name| redfish::has_message(&reply.body, name)) => {
                tracing::warn!(bmc = %self.endpoint, "all sessions of the BMC are in use, going on without one");
                return Ok(Login::Basic);
            }
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(self.wrong_credentials(&reply));
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                return Ok(Login::Basic);
            }
            _ => return Err(self.refusal(&ask, &reply)),
        }
        let Some(token) = reply.headers.get(TOKEN) else {
            tracing::debug!(bmc = %self.endpoint, "a session without a token, going on without it");
            return Ok(Login::Basic);
        };
        let mut token = token.clone();
        token.set_sensitive(true);
        // The Location often carries the BMC's own idea of its name; only the path counts here.
        let location = reply.header(header::LOCATION).and_then(|location| location.parse::<http::Uri>().ok());
        let body = || redfish::parse::<Link>(&reply.body).ok().and_then(|link| link.id);
        let path = location.map(|uri| uri.path().to_owned()).or_else(body);
        Ok(Login::Session(Token { token, path: path.and_then(|path| self.endpoint.path_of(&path).ok()) }))
    }

    /// Ends the session on the BMC and the connection, and forgets what was learnt.
    pub(super) async fn close(&mut self) {
        if let Login::Session(token) = std::mem::replace(&mut self.login, Login::None) {
            delete_session(&mut self.client, &self.endpoint, token).await;
        }
        self.client.disconnect();
        self.root = None;
        self.system_path = None;
    }

    /// The end of a session that nobody closed, to be run without this driver.
    pub(super) fn detached_logout(&mut self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let Login::Session(token) = std::mem::replace(&mut self.login, Login::None) else { return None };
        let mut client = Client::new(self.client.connector.clone());
        let endpoint = self.endpoint.clone();
        Some(async move { delete_session(&mut client, &endpoint, token).await })
    }

    /// The error for an answer that is no success.
    pub(super) fn refusal(&self, ask: &Ask, reply: &Reply) -> BmcError {
        let sentence = redfish::error_sentence(&reply.body);
        let said = sentence.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
        let (name, status) = (ask.name(), reply.status.as_u16());
        match reply.status {
            StatusCode::UNAUTHORIZED => self.wrong_credentials(reply),
            StatusCode::FORBIDDEN => self.endpoint.refused(format!(
                "its user {} may not do that{said} ({name}, HTTP 403): give the user an operator's or administrator's role",
                quoted(&self.username)
            )),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                self.endpoint.unsupported(format!("it does not know {name} (HTTP {status}){said}"))
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                self.endpoint.refused(format!("it is busy or not ready, try again later{said} ({name}, HTTP {status})"))
            }
            _ => {
                let said = sentence.unwrap_or_else(|| "it gives no reason".to_owned());
                self.endpoint.refused(format!("{said} ({name}, HTTP {status})"))
            }
        }
    }

    fn wrong_credentials(&self, reply: &Reply) -> BmcError {
        let said = redfish::error_sentence(&reply.body).unwrap_or_else(|| "it gives no reason".to_owned());
        BmcError::Credentials {
            address: self.endpoint.to_string(),
            detail: format!("user {}, HTTP {}: {said}", quoted(&self.username), reply.status.as_u16()),
        }
    }
}

async fn delete_session(client: &mut Client, endpoint: &Endpoint, token: Token) {
    let Some(path) = token.path else {
        tracing::debug!(bmc = %endpoint, "the BMC gave its session no address: it is left to its timeout");
        return;
    };
    let mut ask = Ask::new(Method::DELETE, path);
    ask.headers.insert(TOKEN, token.token);
    match tokio::time::timeout(LOGOUT, client.exchange(&ask)).await {
        Ok(Ok(reply)) if reply.status.is_success() || reply.status == StatusCode::NOT_FOUND => {}
        Ok(Ok(reply)) => tracing::debug!(bmc = %endpoint, status = %reply.status, "the session could not be ended"),
        Ok(Err(error)) => tracing::debug!(bmc = %endpoint, %error, "the session could not be ended"),
        Err(_) => tracing::debug!(bmc = %endpoint, "the session could not be ended in time"),
    }
}
