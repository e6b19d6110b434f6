//! A client of the appliance's API: Basic authentication, JSON, one connection a request.

use anyhow::{Result, anyhow, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use leasehold_agent::http::Client;
use leasehold_agent::tls;
use serde_json::Value;

const LARGEST_ANSWER: u64 = 64 << 20;
pub(crate) const BAREMETAL: &str = "/baremetal/v1";
pub(crate) const IDENTITY: &str = "/identity/v3";
pub(crate) const LEASE: &str = "/lease/v1";
/// The newest API version we speak.
const VERSION: &str = "1.115";

/// A client for one appliance. It must be used in the appliance's network namespace.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    base: String,
    authorization: String,
}

impl Api {
    /// # Errors
    /// When the cryptography cannot be set up.
    pub(crate) fn new(base: &str, user: &str, password: &str) -> Result<Api> {
        Ok(Api {
            client: Client::new(tls::client(tls::Trust::Nobody)?),
            base: base.to_owned(),
            authorization: format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))),
        })
    }

    /// Status and body (a JSON text for what is none) of whatever is answered.
    ///
    /// # Errors
    /// When nothing is answered.
    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let fields = [
            ("Authorization", self.authorization.as_str()),
            ("X-OpenStack-Ironic-API-Version", VERSION),
            ("Accept", "application/json"),
        ];
        let body = body.map(Value::to_string).unwrap_or_default();
        let url = format!("{}{path}", self.base);
        let answer = self.client.call(method, &url, &fields, body.as_bytes(), LARGEST_ANSWER)?;
        let text = || Value::String(String::from_utf8_lossy(&answer.body).into_owned());
        Ok((answer.head.status, serde_json::from_slice(&answer.body).unwrap_or_else(|_| text())))
    }

    /// The body of an answer that must be a success.
    ///
    /// # Errors
    /// No answer, or another one; with its words.
    pub(crate) fn good(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        match self.ask(method, path, body)? {
            (status, answer) if (200..300).contains(&status) => Ok(answer),
            (status, answer) => bail!("{method} {path}: {status}: {answer}"),
        }
    }

    /// GET.
    ///
    /// # Errors
    /// As [`Self::good`].
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        self.good("GET", path, None)
    }

    /// What the appliance says to one who asks for a boot file or script, without JSON.
    ///
    /// # Errors
    /// When it is not served whole.
    pub(crate) fn fetch(&self, url: &str) -> Result<Vec<u8>> {
        let answer = self.client.call("GET", url, &[], &[], LARGEST_ANSWER)?;
        ensure!(answer.head.status == 200, "{url}: {}", answer.head.status);
        Ok(answer.body)
    }
}

/// A text field.
///
/// # Errors
/// When it is none.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value[field].as_str().ok_or_else(|| anyhow!("the answer's {field} is no text: {value}"))
}
