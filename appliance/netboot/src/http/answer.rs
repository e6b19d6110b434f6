//! From a request to its answer.

use super::body::{AnswerBody, Record};
use super::range::{Selection, is_known, select};
use super::route::{Route, query_pairs, route};
use super::transport::RecentFiles;
use super::{BootSite, ScriptAnswer, ScriptRequest};
use crate::files::BootFile;
use crate::trace::printable;
use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, USER_AGENT,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// Answers one request. `recent` is told which file the answer is made of, before hyper sees its bytes.
pub(super) fn answer<B>(
    site: &BootSite,
    client_ip: Option<Ipv4Addr>,
    recent: &RecentFiles,
    request: &Request<B>,
) -> Response<AnswerBody> {
    let route = route(request.uri().path());
    let record = Record {
        trace: Arc::clone(&site.trace),
        client_ip,
        mac: if let Route::Script(mac) = route { mac } else { None },
        path: printable(request.uri().path().as_bytes()),
        user_agent: request.headers().get(USER_AGENT).map(|value| printable(value.as_bytes())),
        started: Instant::now(),
    };
    let head = request.method() == Method::HEAD;
    if !head && request.method() != Method::GET {
        let sentence = "boot files and scripts can only be read, by GET or HEAD";
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, sentence_line(sentence), false, record);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let not_found = |sentence: &str, record| text(StatusCode::NOT_FOUND, sentence_line(sentence), head, record);
    match route {
        Route::Nowhere(why) => not_found(why, record),
        Route::NoMac => {
            let sentence = "after /boot/script/ comes a MAC address, as in /boot/script/52:54:00:12:34:56";
            text(StatusCode::BAD_REQUEST, sentence_line(sentence), head, record)
        }
        Route::Script(mac) => {
            let query = request.uri().query().map(query_pairs).unwrap_or_default();
            match site.scripts.script(&ScriptRequest { mac, client_ip, query }) {
                ScriptAnswer::Script(script) => {
                    let mut response = text(StatusCode::OK, script, head, record);
                    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                    response
                }
                ScriptAnswer::NotFound(why) => not_found(&why, record),
            }
        }
        Route::File(path) => match site.files.lookup(&path) {
            Err(why) => not_found(&why.to_string(), record),
            Ok(found) => {
                recent.note(&found);
                file(&found, head, request, record)
            }
        },
    }
}

fn file<B>(file: &Arc<BootFile>, head: bool, request: &Request<B>, record: Record) -> Response<AnswerBody> {
    let size = file.size();
    let headers = request.headers();
    if is_known(headers, file.etag()) {
        let mut response = respond(StatusCode::NOT_MODIFIED, AnswerBody::none(record, 304));
        set(&mut response, ETAG, file.etag());
        return response;
    }
    // A range has a meaning for GET only (RFC 9110, 14.2).
    let selection = if head { Selection::Whole } else { select(headers, file.etag(), size) };
    let (status, range) = match selection {
        Selection::Whole => (StatusCode::OK, 0..size),
        Selection::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Selection::Unsatisfiable => {
            let sentence = format!("the file has {size} bytes; the range lies outside\n");
            let mut response = text(StatusCode::RANGE_NOT_SATISFIABLE, sentence, head, record);
            set(&mut response, CONTENT_RANGE, &format!("bytes */{size}"));
            return response;
        }
    };
    let body = match (usize::try_from(range.start), usize::try_from(range.end)) {
        (Ok(start), Ok(end)) if !head => AnswerBody::file(Arc::clone(file), start..end, record, status.as_u16()),
        _ => AnswerBody::none(record, status.as_u16()),
    };
    let mut response = respond(status, body);
    if status == StatusCode::PARTIAL_CONTENT {
        set(&mut response, CONTENT_RANGE, &format!("bytes {}-{}/{size}", range.start, range.end - 1));
    }
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type(file.path())));
    response.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    set(&mut response, ETAG, file.etag());
    response
}

fn text(status: StatusCode, text: String, head: bool, record: Record) -> Response<AnswerBody> {
    let length = text.len();
    let body =
        if head { AnswerBody::none(record, status.as_u16()) } else { AnswerBody::text(text, record, status.as_u16()) };
    let mut response = respond(status, body);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PLAIN_TEXT));
    response
}

fn respond(status: StatusCode, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// Sets a header to a text of ours, which is always printable ASCII.
fn set(response: &mut Response<AnswerBody>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn sentence_line(sentence: &str) -> String {
    format!("{sentence}\n")
}

/// The media type by the name's ending. UEFI HTTP Boot takes a loader only as `application/efi` or by its ending, and
/// an ISO image only as `application/vnd.efi-iso` (UEFI specification, 24.7).
fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("efi") => "application/efi",
        Some("iso") => "application/vnd.efi-iso",
        Some("json") => "application/json",
        Some("cfg" | "ipxe" | "txt") => PLAIN_TEXT,
        _ => "application/octet-stream",
    }
}
