//! HTTP/1.1 by hand, blocking, over plain TCP or TLS: small enough for an initramfs.
//! In: bytes of a peer (never trusted). Out: heads with checked framing, bodies that are an error when cut short.
//! `message` parses and knows no socket; `url` splits addresses; `client` calls the appliance and image servers;
//! the command service (`crate::service`) uses the same message types. Limits: heads of 64 KiB, 100 header fields.
mod client;
mod message;
mod url;

pub use client::{Body, Client, Connection, Error, Response};
pub use message::{Framing, HeadError, MAX_HEAD, RequestHead, ResponseHead, framing_of_request, head_end};
pub use url::{Url, UrlError, percent_decode, percent_encode, query_pairs};
