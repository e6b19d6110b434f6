//! A blocking HTTP/1.1 client with one kept-open connection, thrifty enough to measure a server with.

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

/// One server, one user, one connection.
pub(crate) struct Client {
    address: SocketAddr,
    head: String,
    stream: Option<BufReader<TcpStream>>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, user: &str, password: &str) -> Client {
        let token = STANDARD.encode(format!("{user}:{password}"));
        let head = format!(
            "Host: {address}\r\nAuthorization: Basic {token}\r\nX-OpenStack-Ironic-API-Version: 1.104\r\n\
             Accept: application/json\r\nContent-Type: application/json\r\n"
        );
        Client { address, head, stream: None }
    }

    /// Another user of the same server.
    pub(crate) fn of_user(&self, user: &str, password: &str) -> Client {
        Client::new(self.address, user, password)
    }

    /// Connects now, from this address.
    pub(crate) fn connect_from(&mut self, from: Ipv4Addr) -> Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect(&self.address.into())?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        self.stream = Some(BufReader::with_capacity(256 << 10, stream));
        Ok(())
    }

    /// Another connection of the same user.
    pub(crate) fn sibling(&self) -> Client {
        Client { address: self.address, head: self.head.clone(), stream: None }
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
        let request = format!("{method} {path} HTTP/1.1\r\n{}Content-Length: {}\r\n\r\n{body}", self.head, body.len());
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
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let field = line.trim_end();
        if field.is_empty() {
            break;
        }
        if let Some((name, value)) = field.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Answer { status, body })
}
