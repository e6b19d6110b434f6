//! A blocking HTTP/1.1 client with one kept-open connection, thrifty enough to measure a server with.

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

/// One server, one user, one connection.
pub(crate) struct Client {
    address: SocketAddr,
    user: String,
    password: String,
    /// The header that says who he is.
    proof: String,
    version: &'static str,
    stream: Option<BufReader<TcpStream>>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// A token that it brought.
    token: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, user: &str, password: &str) -> Client {
        let proof = format!("Authorization: Basic {}", STANDARD.encode(format!("{user}:{password}")));
        Client { address, user: user.into(), password: password.into(), proof, version: "1.104", stream: None }
    }

    /// Somebody else at the same server.
    pub(crate) fn of_user(&self, user: &str, password: &str) -> Client {
        Client::new(self.address, user, password)
    }

    /// The same user with a token for this scope, which he gets by his password.
    pub(crate) fn with_token(&self, scope: Value) -> Result<Client> {
        let user = json!({"name": self.user, "domain": {"id": "default"}, "password": self.password});
        let identity = json!({"methods": ["password"], "password": {"user": user}});
        let body = json!({"auth": {"identity": identity, "scope": scope}}).to_string();
        let answer = self.sibling().call("POST", "/identity/v3/auth/tokens", &body)?;
        let token = answer.token.with_context(|| format!("no token for {}: {}", self.user, answer.status))?;
        Ok(Client { proof: format!("X-Auth-Token: {token}"), ..self.sibling() })
    }

    /// The same user, in the API's version 1.10.
    pub(crate) fn older(&self) -> Client {
        Client { version: "1.10", ..self.sibling() }
    }

    /// Another connection of the same user.
    pub(crate) fn sibling(&self) -> Client {
        let Client { address, user, password, proof, version, .. } = self;
        let (user, password, proof) = (user.clone(), password.clone(), proof.clone());
        Client { address: *address, user, password, proof, version, stream: None }
    }

    /// A new connection, from this address of this machine.
    pub(crate) fn connect_from(&mut self, source: Ipv4Addr) -> Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect(&self.address.into())?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        self.stream = Some(BufReader::with_capacity(256 << 10, stream));
        Ok(())
    }

    /// One request; any status is an answer.
    pub(crate) fn call(&mut self, method: &str, path: &str, body: &str) -> Result<Answer> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            empty => {
                let stream = TcpStream::connect(self.address)?;
                stream.set_nodelay(true)?;
                empty.insert(BufReader::with_capacity(256 << 10, stream))
            }
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{}\r\nX-OpenStack-Ironic-API-Version: {}\r\n\
             Accept: application/json\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            self.proof,
            self.version,
            body.len()
        );
        stream.get_mut().write_all(request.as_bytes())?;
        read_answer(stream)
    }

    /// One request that must succeed.
    pub(crate) fn good(&mut self, method: &str, path: &str, body: &str) -> Result<Vec<u8>> {
        let answer = self.call(method, path, body)?;
        if !(200..300).contains(&answer.status) {
            let words: String = String::from_utf8_lossy(&answer.body).chars().take(300).collect();
            bail!("{method} {path}: {}: {words}", answer.status);
        }
        Ok(answer.body)
    }

    /// As [`Client::good`], in JSON both ways.
    pub(crate) fn json(&mut self, method: &str, path: &str, body: &Value) -> Result<Value> {
        Ok(serde_json::from_slice(&self.good(method, path, &body.to_string())?)?)
    }
}

fn read_answer(stream: &mut impl BufRead) -> Result<Answer> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|text| text.parse().ok()).context("the server hung up")?;
    let (mut length, mut token) = (0, None);
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let field = line.trim_end();
        if field.is_empty() {
            break;
        }
        let Some((name, value)) = field.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse()?;
        } else if name.eq_ignore_ascii_case("x-subject-token") {
            token = Some(value.trim().to_owned());
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Answer { status, token, body })
}
