//! What a request's path and query mean. Text only; nothing is looked up here.
//!
//! Percent-encoding is taken off exactly once, segment by segment, so that an encoded slash cannot make two segments
//! of one and a doubly encoded dot stays a strange name. What is left is checked by `files::normalize` like any path.

/// Where a request leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// A file of the tree; the path is decoded but not checked.
    File(Vec<u8>),
    /// A boot script, for a machine that names itself or not.
    Script(Option<[u8; 6]>),
    /// A script for something that is no MAC address.
    NoMac,
    /// Nowhere; the sentence says why.
    Nowhere(&'static str),
}

/// Finds the route of a path as it stands in the request line, without query.
pub(super) fn route(path: &str) -> Route {
    let Some(below) = path.strip_prefix("/boot/") else {
        return Route::Nowhere("here are only boot files and scripts, below /boot/");
    };
    let mut decoded = Vec::with_capacity(below.len());
    for (index, segment) in below.split('/').enumerate() {
        let Some(bytes) = percent_decoded(segment, false) else {
            return Route::Nowhere("the path is not properly percent-encoded");
        };
        if bytes.contains(&b'/') {
            return Route::Nowhere("the path contains an encoded slash");
        }
        if index > 0 {
            decoded.push(b'/');
        }
        decoded.extend_from_slice(&bytes);
    }
    match decoded.strip_prefix(b"script") {
        Some(b"" | b"/") => Route::Script(None),
        Some([b'/', mac @ ..]) => parse_mac(mac).map_or(Route::NoMac, |mac| Route::Script(Some(mac))),
        _ => Route::File(decoded),
    }
}

/// The pairs of a query; what is not properly encoded is left out.
pub(super) fn query_pairs(query: &str) -> Vec<(String, String)> {
    let text = |part: &str| percent_decoded(part, true).and_then(|bytes| String::from_utf8(bytes).ok());
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((text(name)?, text(value)?))
        })
        .collect()
}

/// Takes percent-encoding off once. `form` also reads `+` as a space, as in queries.
fn percent_decoded(text: &str, form: bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let mut value = [0];
                hex::decode_to_slice(digits, &mut value).ok()?;
                out.push(value[0]);
            }
            b'+' if form => out.push(b' '),
            other => out.push(other),
        }
    }
    Some(out)
}

/// Reads a MAC address: twelve hexadecimal digits, in pairs separated by `:` or `-`, or without separators.
fn parse_mac(text: &[u8]) -> Option<[u8; 6]> {
    let digits: Vec<u8> = match text.len() {
        12 => text.to_vec(),
        17 => {
            let separator = text[2];
            let separated = (2..17).step_by(3).all(|at| text[at] == separator);
            if !separated || !matches!(separator, b':' | b'-') {
                return None;
            }
            text.chunks(3).flat_map(|pair| &pair[..2]).copied().collect()
        }
        _ => return None,
    };
    let mut mac = [0; 6];
    hex::decode_to_slice(digits, &mut mac).ok()?;
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(path: &str) -> Route {
        Route::File(path.as_bytes().to_vec())
    }

    #[test]
    fn files_and_scripts() {
        let mac = [0x52, 0x54, 0, 0xab, 0xcd, 0xef];
        assert_eq!(route("/boot/ipxe/x86_64/snponly.efi"), file("ipxe/x86_64/snponly.efi"));
        assert_eq!(route("/boot/a%20b"), file("a b"));
        assert_eq!(route("/boot/script"), Route::Script(None));
        assert_eq!(route("/boot/script/"), Route::Script(None));
        assert_eq!(route("/boot/scripts"), file("scripts"));
        for text in ["52:54:00:ab:cd:ef", "52-54-00-AB-CD-EF", "525400abcdef", "52%3A54%3a00%3Aab%3Acd%3Aef"] {
            assert_eq!(route(&format!("/boot/script/{text}")), Route::Script(Some(mac)), "{text}");
        }
        for text in
            ["52:54:00:ab:cd", "52:54:00:ab:cd:eg", "52:54-00:ab:cd:ef", "5254.00ab.cdef", "x", "52:54:00:ab:cd:ef/x"]
        {
            assert_eq!(route(&format!("/boot/script/{text}")), Route::NoMac, "{text}");
        }
    }

    #[test]
    fn encoding_is_taken_off_once() {
        assert_eq!(route("/boot/%2e%2e/etc"), file("../etc"));
        assert_eq!(route("/boot/%252e%252e/etc"), file("%2e%2e/etc"));
        assert!(matches!(route("/boot/a%2fb"), Route::Nowhere(_)));
        for bad in ["/", "/boot", "/boo", "/v1/nodes", "/boot/%", "/boot/%4", "/boot/%zz", "*", ""] {
            assert!(matches!(route(bad), Route::Nowhere(_)), "{bad}");
        }
    }

    #[test]
    fn queries() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            query_pairs("mac=52%3a54&name=a+b&flag&=x&bad=%zz&&u=%ff"),
            [pair("mac", "52:54"), pair("name", "a b"), pair("flag", ""), pair("", "x")]
        );
        assert_eq!(query_pairs(""), []);
    }

    proptest! {
        #[test]
        fn any_text_has_a_route(path in "\\PC{0,60}", query in "\\PC{0,60}") {
            route(&path);
            route(&format!("/boot/{path}"));
            route(&format!("/boot/script/{path}"));
            query_pairs(&query);
        }

        #[test]
        fn every_mac_is_read_back(mac: [u8; 6]) {
            let text = mac.map(|byte| format!("{byte:02x}")).join(":");
            prop_assert_eq!(route(&format!("/boot/script/{text}")), Route::Script(Some(mac)));
        }
    }
}
