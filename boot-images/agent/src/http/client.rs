//! The calling side: one connection at a time, kept alive where asked for, every wait bounded.

use super::message::{Framing, HeadError, MAX_HEAD, ResponseHead, head_end};
use super::url::{Url, UrlError};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The longest silence of a peer that is borne.
const SILENCE: Duration = Duration::from_secs(60);
const BUFFER: usize = 128 * 1024;
const MAX_CHUNK_LINE: usize = 256;

/// Why a call failed, in words for a person.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The host's name has no address.
    #[error("the name {host} cannot be resolved ({source}); is there a DNS server on this network?")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's words.
        source: io::Error,
    },
    /// Nobody answers.
    #[error("{authority} cannot be reached ({source}); check cable, VLAN and the appliance's firewall")]
    Connect {
        /// Host and port.
        authority: String,
        /// The kernel's words.
        source: io::Error,
    },
    /// The certificate is not the pinned one, or the peer does not speak TLS.
    #[error("{authority} is not the appliance this machine was told to trust ({source})")]
    Tls {
        /// Host and port.
        authority: String,
        /// What rustls says.
        source: rustls::Error,
    },
    /// The conversation broke.
    #[error("the connection to {authority} broke ({source})")]
    Broken {
        /// Host and port.
        authority: String,
        /// The kernel's words.
        source: io::Error,
    },
    /// The peer's answer is no proper HTTP.
    #[error("{authority}: {source}")]
    Head {
        /// Host and port.
        authority: String,
        /// What is wrong.
        source: HeadError,
    },
    /// The answer is longer than can be meant.
    #[error("the answer of {authority} is longer than {limit} bytes")]
    TooLong {
        /// Host and port.
        authority: String,
        /// The limit.
        limit: u64,
    },
}

/// Knows how to trust: shared by all connections.
#[derive(Clone)]
pub struct Client {
    tls: Arc<ClientConfig>,
}

/// An open connection to one server.
pub struct Connection {
    url: Url,
    stream: Stream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    reusable: bool,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, Roomy>>),
}

/// A socket that is read in large pieces: rustls asks for 4 KiB at a time, a system call for each of which would cost
/// more than the decryption.
struct Roomy(BufReader<TcpStream>);

impl Roomy {
    fn new(tcp: TcpStream) -> Roomy {
        Roomy(BufReader::with_capacity(BUFFER, tcp))
    }
}

impl Read for Roomy {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

impl Write for Roomy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write(bytes)
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.get_mut().write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.get_mut().flush()
    }
}

/// A whole answer in memory.
#[derive(Debug)]
pub struct Response {
    /// Status and fields.
    pub head: ResponseHead,
    /// The body.
    pub body: Vec<u8>,
}

impl Client {
    /// A client that trusts as `tls` says.
    #[must_use]
    pub fn new(tls: Arc<ClientConfig>) -> Client {
        Client { tls }
    }

    /// Opens a connection (TCP, and TLS where the address asks for it).
    ///
    /// # Errors
    /// When the host cannot be reached or is not the trusted one.
    pub fn connect(&self, url: &Url) -> Result<Connection, Error> {
        let authority = url.authority();
        let addresses = (url.host.as_str(), url.port)
            .to_socket_addrs()
            .map_err(|source| Error::Resolve { host: url.host.clone(), source })?;
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
                Ok(stream) => return self.over(stream, url.clone()),
                Err(error) => last = error,
            }
        }
        Err(Error::Connect { authority, source: last })
    }

    fn over(&self, tcp: TcpStream, url: Url) -> Result<Connection, Error> {
        let authority = url.authority();
        let broken = |source| Error::Broken { authority: authority.clone(), source };
        tcp.set_nodelay(true).map_err(broken)?;
        tcp.set_read_timeout(Some(SILENCE)).map_err(broken)?;
        tcp.set_write_timeout(Some(SILENCE)).map_err(broken)?;
        let stream = if url.tls {
            let name = ServerName::try_from(url.host.clone()).map_err(|_| UrlError::new(&url.host))?;
            let session = ClientConnection::new(Arc::clone(&self.tls), name)
                .map_err(|source| Error::Tls { authority: authority.clone(), source })?;
            let mut stream = StreamOwned::new(session, Roomy::new(tcp));
            while stream.conn.is_handshaking() {
                stream.conn.complete_io(&mut stream.sock).map_err(|error| tls_or_broken(&authority, error))?;
            }
            Stream::Tls(Box::new(stream))
        } else {
            Stream::Plain(tcp)
        };
        Ok(Connection { url, stream, buffer: vec![0; BUFFER], start: 0, end: 0, reusable: true })
    }

    /// One request, one answer, the connection closed: for everything but image data.
    ///
    /// # Errors
    /// When the call fails or the answer's body is longer than `limit`.
    pub fn call(
        &self,
        method: &str,
        url: &str,
        fields: &[(&str, &str)],
        body: &[u8],
        limit: u64,
    ) -> Result<Response, Error> {
        let url = Url::parse(url)?;
        let mut connection = self.connect(&url)?;
        let mut all = vec![("Connection", "close")];
        all.extend_from_slice(fields);
        let head = connection.send(method, &url.target, &all, body)?;
        let mut reader = connection.body(&head, method)?;
        let mut bytes = Vec::new();
        let read = (&mut reader).take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|source| Error::Broken { authority: url.authority(), source })?;
        if bytes.len() as u64 > limit {
            return Err(Error::TooLong { authority: url.authority(), limit });
        }
        Ok(Response { head, body: bytes })
    }
}

fn tls_or_broken(authority: &str, error: io::Error) -> Error {
    let authority = authority.to_owned();
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(source) => Error::Tls { authority, source: source.clone() },
        None => Error::Broken { authority, source: error },
    }
}

impl Connection {
    /// Sends a request and reads the head of the answer (interim answers are skipped). The body must be read through
    /// [`Self::body`] before the next request.
    ///
    /// # Errors
    /// When the connection breaks or the answer is no HTTP.
    pub fn send(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Result<ResponseHead, Error> {
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nUser-Agent: leasehold-agent/{}\r\n",
            self.url.authority(),
            env!("CARGO_PKG_VERSION")
        );
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut message = head.into_bytes();
        message.extend_from_slice(body);
        self.reusable = false;
        self.stream.write_all(&message).and_then(|()| self.stream.flush()).map_err(|error| self.broken(error))?;
        loop {
            let head = self.read_head()?;
            if head.status >= 200 {
                return Ok(head);
            }
        }
    }

    /// The body that belongs to `head`. It reads to its end or fails; a cut body is never taken for a whole one.
    ///
    /// # Errors
    /// When it cannot be told where the body ends.
    pub fn body(&mut self, head: &ResponseHead, method: &str) -> Result<Body<'_>, Error> {
        let framing = head.framing(method).map_err(|source| Error::Head { authority: self.url.authority(), source })?;
        let keep = head.keeps_alive() && framing != Framing::UntilClose;
        let state = match framing {
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkStart { first: true },
            Framing::UntilClose => State::UntilClose,
        };
        if keep && matches!(state, State::Length(0)) {
            self.reusable = true;
        }
        Ok(Body { connection: self, state, keep, got: 0 })
    }

    /// The last body was read to its end and the server keeps the connection.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        self.reusable
    }

    fn read_head(&mut self) -> Result<ResponseHead, Error> {
        let mut head = Vec::new();
        loop {
            if self.start == self.end {
                self.fill().map_err(|error| self.broken(error))?;
                if self.start == self.end {
                    return Err(self.broken(io::Error::from(io::ErrorKind::UnexpectedEof)));
                }
            }
            let before = head.len();
            head.extend_from_slice(&self.buffer[self.start..self.end]);
            let from = before.saturating_sub(3);
            if let Some(end) = head_end(&head[from..]).map(|end| end + from) {
                self.start += end - before;
                return ResponseHead::parse(&head[..end])
                    .map_err(|source| Error::Head { authority: self.url.authority(), source });
            }
            self.start = self.end;
            if head.len() > MAX_HEAD {
                return Err(Error::TooLong { authority: self.url.authority(), limit: MAX_HEAD as u64 });
            }
        }
    }

    /// Reads into the empty buffer.
    fn fill(&mut self) -> io::Result<()> {
        self.start = 0;
        self.end = 0;
        self.end = self.stream.read(&mut self.buffer)?;
        Ok(())
    }

    fn read_raw(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            // Large reads go past the buffer.
            if out.len() >= BUFFER {
                return self.stream.read(out);
            }
            self.fill()?;
        }
        let count = out.len().min(self.end - self.start);
        out[..count].copy_from_slice(&self.buffer[self.start..self.start + count]);
        self.start += count;
        Ok(count)
    }

    fn read_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut byte = [0u8; 1];
        while line.len() < MAX_CHUNK_LINE {
            if self.read_raw(&mut byte)? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            if byte[0] == b'\n' {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return String::from_utf8(line).map_err(|_| io::Error::from(io::ErrorKind::InvalidData));
            }
            line.push(byte[0]);
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "a chunk header is too long"))
    }

    fn broken(&self, source: io::Error) -> Error {
        tls_or_broken(&self.url.authority(), source)
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let result = match self {
            Stream::Plain(tcp) => tcp.read(out),
            Stream::Tls(tls) => tls.read(out),
        };
        result.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "nothing came for a minute"),
            _ => error,
        })
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.write(bytes),
            Stream::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(tcp) => tcp.flush(),
            Stream::Tls(tls) => tls.flush(),
        }
    }
}

/// A body being read.
pub struct Body<'a> {
    connection: &'a mut Connection,
    state: State,
    keep: bool,
    got: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Length(u64),
    ChunkStart { first: bool },
    Chunk(u64),
    UntilClose,
    Done,
}

impl Body<'_> {
    /// Bytes that are still to come, where the server said so.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    fn finish(&mut self) {
        self.state = State::Done;
        self.connection.reusable = self.keep;
    }

    fn cut(&self) -> io::Error {
        let left = match self.state {
            State::Length(left) | State::Chunk(left) => format!(", {left} were still to come"),
            _ => String::new(),
        };
        io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("the server ended the connection after {} bytes{left}", self.got),
        )
    }
}

impl Read for Body<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            match self.state {
                State::Done => return Ok(0),
                State::Length(0) => self.finish(),
                State::Length(left) | State::Chunk(left) if left > 0 => {
                    let want = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
                    let count = self.connection.read_raw(&mut out[..want])?;
                    if count == 0 {
                        return Err(self.cut());
                    }
                    self.got += count as u64;
                    let left = left - count as u64;
                    self.state = match self.state {
                        State::Length(_) => State::Length(left),
                        _ => State::Chunk(left),
                    };
                    if matches!(self.state, State::Length(0)) {
                        self.finish();
                    }
                    return Ok(count);
                }
                State::Length(_) | State::Chunk(_) => self.state = State::ChunkStart { first: false },
                State::ChunkStart { first } => {
                    if !first && !self.connection.read_line()?.is_empty() {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "a chunk has the wrong length"));
                    }
                    let line = self.connection.read_line()?;
                    let digits = line.split(';').next().unwrap_or_default().trim();
                    let proper = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                    let size = u64::from_str_radix(digits, 16).ok().filter(|_| proper);
                    match size {
                        Some(0) => {
                            while !self.connection.read_line()?.is_empty() {}
                            self.finish();
                        }
                        Some(size) => self.state = State::Chunk(size),
                        None => return Err(io::Error::new(io::ErrorKind::InvalidData, "a chunk has no length")),
                    }
                }
                State::UntilClose => {
                    let count = self.connection.read_raw(out)?;
                    self.got += count as u64;
                    if count == 0 {
                        self.finish();
                    }
                    return Ok(count);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls;
    use proptest::prelude::*;
    use std::net::TcpListener;

    /// What a client makes of a server that sends exactly these bytes and closes.
    fn told(answer: &[u8]) -> Result<Vec<u8>, String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                let mut chunk = [0u8; 1024];
                while head_end(&request).is_none() {
                    let count = stream.read(&mut chunk).unwrap();
                    request.extend_from_slice(&chunk[..count]);
                }
                // A client that has heard enough may have gone already.
                let _ = stream.write_all(answer);
            });
            let client = Client::new(tls::client(tls::Trust::Nobody).unwrap());
            client.call("GET", &url, &[], &[], 1 << 20).map(|answer| answer.body).map_err(|error| error.to_string())
        })
    }

    #[test]
    fn every_framing_is_read_to_its_end() {
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nTrailer: x\r\n\r\n";
        assert_eq!(told(chunked), Ok(b"abcd".to_vec()));
        assert_eq!(
            told(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"),
            Ok(b"ab".to_vec())
        );
        assert_eq!(told(b"HTTP/1.0 200 OK\r\n\r\nabc"), Ok(b"abc".to_vec()));
    }

    #[test]
    fn a_cut_body_is_an_error_that_says_so() {
        let cut = told(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc").unwrap_err();
        assert!(cut.contains("after 3 bytes, 2 were still to come"), "{cut}");
        for broken in [
            &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
            b"HTTP/1.1 200 OK\r\nContent-",
            b"SSH-2.0-x\r\n\r\n",
            b"",
        ] {
            assert!(told(broken).is_err(), "{}", String::from_utf8_lossy(broken));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn any_answer_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), start in 0usize..4) {
            let starts = ["", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n"];
            let _ = told(&[starts[start].as_bytes(), &bytes].concat());
        }

        #[test]
        fn chunks_come_through(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..500), 0..10)) {
            let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for chunk in &chunks {
                answer.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                answer.extend_from_slice(chunk);
                answer.extend_from_slice(b"\r\n");
            }
            answer.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(told(&answer), Ok(chunks.concat()));
        }
    }
}
