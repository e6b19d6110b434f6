//! Text in URLs.

/// Percent-encodes everything that is not plain in a path segment or a query (RFC 3986 §2.3; comma and colon are legal in
/// both and stay, as lists of fields and times have them).
pub fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~,:".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_escaped_separates_nothing_and_reads_back(text in "\\PC{0,40}") {
            let escaped = escaped(&text);
            prop_assert!(!escaped.contains(['&', '=', '?', '#', '/', '+', ' ']));
            let uri: axum::http::Uri = format!("/?x={escaped}").parse().expect("a URI");
            let read = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri).expect("a query");
            prop_assert_eq!(&read.0[0].1, &text);
        }
    }
}
