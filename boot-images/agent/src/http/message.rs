//! Heads of HTTP/1.1 messages (RFC 9112): parsing and framing, no sockets. Strict where looseness would let two
//! readers see different messages: no folded lines, no two lengths, no length beside chunks.

/// The largest head that is read.
pub const MAX_HEAD: usize = 64 * 1024;
const MAX_FIELDS: usize = 100;

/// Why a head cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The first line is not HTTP/1.x.
    #[error("the peer does not speak HTTP/1.1")]
    StartLine,
    /// A field line is malformed.
    #[error("a header line of the peer is malformed")]
    Field,
    /// Too many fields.
    #[error("the peer sent more than {MAX_FIELDS} header lines")]
    TooManyFields,
    /// It cannot be told where the body ends.
    #[error("the peer's message has an unclear length")]
    Length,
}

/// First line and fields of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// For example `GET`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
}

/// First line and fields of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// 100 to 599.
    pub status: u16,
    /// The server closes the connection after HTTP/1.0 answers.
    pub http_1_0: bool,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// Where the head in `bytes` ends (behind its empty line), if it is whole.
#[must_use]
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

impl RequestHead {
    /// Parses a whole head, the empty line included.
    ///
    /// # Errors
    /// See [`HeadError`].
    pub fn parse(bytes: &[u8]) -> Result<RequestHead, HeadError> {
        let (first, fields) = split(bytes)?;
        let mut parts = first.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(HeadError::StartLine);
        };
        let proper_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
        let proper_target = target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic());
        if !proper_method || !proper_target || !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
            return Err(HeadError::StartLine);
        }
        Ok(RequestHead { method: method.to_owned(), target: target.to_owned(), fields })
    }

    /// The first field of that name (lower case).
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }
}

impl ResponseHead {
    /// Parses a whole head, the empty line included.
    ///
    /// # Errors
    /// See [`HeadError`].
    pub fn parse(bytes: &[u8]) -> Result<ResponseHead, HeadError> {
        let (first, fields) = split(bytes)?;
        let http_1_0 = first.starts_with("HTTP/1.0 ");
        let rest = first.strip_prefix("HTTP/1.1 ").or_else(|| first.strip_prefix("HTTP/1.0 "));
        let status = rest.and_then(|rest| rest.get(..3)).ok_or(HeadError::StartLine)?;
        let status = status.parse::<u16>().ok().filter(|status| (100..600).contains(status));
        let after = rest.and_then(|rest| rest.as_bytes().get(3));
        match status {
            Some(status) if matches!(after, None | Some(b' ')) => Ok(ResponseHead { status, http_1_0, fields }),
            _ => Err(HeadError::StartLine),
        }
    }

    /// The first field of that name (lower case).
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }

    /// Where the body of this answer ends.
    ///
    /// # Errors
    /// When lengths contradict each other.
    pub fn framing(&self, method: &str) -> Result<Framing, HeadError> {
        if method == "HEAD" || self.status < 200 || matches!(self.status, 204 | 304) {
            return Ok(Framing::Length(0));
        }
        Ok(framing(&self.fields)?.unwrap_or(Framing::UntilClose))
    }

    /// The connection may carry another request once the body is read.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        let close = self.field("connection").is_some_and(|value| value.to_ascii_lowercase().contains("close"));
        !self.http_1_0 && !close
    }
}

/// Where the body of a request ends: without a length there is none.
///
/// # Errors
/// When lengths contradict each other.
pub fn framing_of_request(head: &RequestHead) -> Result<Framing, HeadError> {
    Ok(framing(&head.fields)?.unwrap_or(Framing::Length(0)))
}

fn framing(fields: &[(String, String)]) -> Result<Option<Framing>, HeadError> {
    let of = |name: &'static str| fields.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str());
    let chunked = match of("transfer-encoding").collect::<Vec<_>>().as_slice() {
        [] => false,
        [one] if one.eq_ignore_ascii_case("chunked") => true,
        _ => return Err(HeadError::Length),
    };
    let mut length = None;
    for value in of("content-length") {
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let value = value.parse::<u64>().ok().filter(|_| digits).ok_or(HeadError::Length)?;
        if length.is_some_and(|before| before != value) {
            return Err(HeadError::Length);
        }
        length = Some(value);
    }
    match (chunked, length) {
        (true, Some(_)) => Err(HeadError::Length),
        (true, None) => Ok(Some(Framing::Chunked)),
        (false, length) => Ok(length.map(Framing::Length)),
    }
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

type Fields = Vec<(String, String)>;

fn split(bytes: &[u8]) -> Result<(&str, Fields), HeadError> {
    let text = std::str::from_utf8(bytes).map_err(|_| HeadError::Field)?;
    let text = text.strip_suffix("\r\n\r\n").ok_or(HeadError::Field)?;
    let mut lines = text.split("\r\n");
    let first = lines.next().ok_or(HeadError::StartLine)?;
    let mut fields = Vec::new();
    for line in lines {
        if fields.len() == MAX_FIELDS {
            return Err(HeadError::TooManyFields);
        }
        let (name, value) = line.split_once(':').ok_or(HeadError::Field)?;
        let proper =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(&b));
        let value = value.trim_matches([' ', '\t']);
        if !proper || value.bytes().any(|byte| byte < 0x20 && byte != b'\t') {
            return Err(HeadError::Field);
        }
        fields.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    Ok((first, fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn response(text: &str) -> Result<ResponseHead, HeadError> {
        ResponseHead::parse(text.as_bytes())
    }

    #[test]
    fn answers_are_framed() {
        let head = response("HTTP/1.1 206 Partial Content\r\nContent-Length: 12\r\nETag: x\r\n\r\n").unwrap();
        assert_eq!((head.status, head.framing("GET")), (206, Ok(Framing::Length(12))));
        assert!(head.keeps_alive());
        let head = response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n").unwrap();
        assert_eq!(head.framing("GET"), Ok(Framing::Chunked));
        assert!(!head.keeps_alive());
        assert_eq!(response("HTTP/1.0 200 OK\r\n\r\n").unwrap().framing("GET"), Ok(Framing::UntilClose));
        assert_eq!(response("HTTP/1.1 204\r\n\r\n").unwrap().framing("GET"), Ok(Framing::Length(0)));
    }

    #[test]
    fn unclear_lengths_are_refused() {
        for fields in [
            "Content-Length: 1\r\nContent-Length: 2",
            "Content-Length: +1",
            "Content-Length: ",
            "Content-Length: 99999999999999999999",
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
        ] {
            let head = response(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n")).unwrap();
            assert_eq!(head.framing("GET"), Err(HeadError::Length), "{fields}");
        }
        assert_eq!(response("HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n"), Err(HeadError::Field));
        assert_eq!(response("HTTP/2 200\r\n\r\n"), Err(HeadError::StartLine));
    }

    #[test]
    fn requests_are_read() {
        let head = RequestHead::parse(b"POST /v1/commands/?wait=true HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
            .unwrap();
        assert_eq!((head.method.as_str(), head.target.as_str()), ("POST", "/v1/commands/?wait=true"));
        assert_eq!(framing_of_request(&head), Ok(Framing::Length(3)));
        assert!(RequestHead::parse(b"GET / HTTP/1.1 x\r\n\r\n").is_err());
        assert!(RequestHead::parse(b"GET x HTTP/1.1\r\n\r\n").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), ended in any::<bool>()) {
            if ended { bytes.extend_from_slice(b"\r\n\r\n"); }
            let _ = head_end(&bytes);
            if let Ok(head) = RequestHead::parse(&bytes) { let _ = framing_of_request(&head); }
            if let Ok(head) = ResponseHead::parse(&bytes) { let _ = head.framing("GET"); }
        }

        #[test]
        fn fields_come_through(fields in proptest::collection::vec(("[A-Za-z][A-Za-z0-9-]{0,20}", "[!-~]([ -~]{0,30}[!-~])?"), 0..20)) {
            let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let head = response(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).unwrap();
            let want: Vec<_> = fields.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
            prop_assert_eq!(head.fields, want);
        }
    }
}
