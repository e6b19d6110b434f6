//! The bytes of images: up, down, in parts, from elsewhere.

use super::access::may;
use super::fault::{Asker, Fault, OFFSET};
use super::images::is_filled;
use crate::Api;
use crate::agent::{Asked, range};
use crate::images::{Limitless, SILENCE, silent};
use axum::Json;
use axum::body::{Body, HttpBody};
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use leasehold_engine::images::{ImageError, Reach, StoredImage};
use serde_json::Value;
use std::sync::Arc;
use tokio::time::timeout;

/// The media type of bytes that are an image.
const OCTETS: &str = "application/octet-stream";

fn must_be_octets(headers: &HeaderMap) -> Result<(), Fault> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(OCTETS)) {
        return Ok(());
    }
    Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("The data of an image has the media type {OCTETS}.")))
}

/// The next bytes of a body; `None`: it has ended.
async fn next(body: &mut Limitless) -> Result<Option<Bytes>, Fault> {
    loop {
        let frame = timeout(SILENCE, body.0.frame()).await.map_err(|_| silent())?;
        let Some(frame) = frame else { return Ok(None) };
        let frame = frame.map_err(|error| Fault::bad_request(format!("The upload was cut off: {error}.")))?;
        if let Ok(bytes) = frame.into_data() {
            return Ok(Some(bytes));
        }
    }
}

/// `PUT /v2/images/{id}/file`.
pub(super) async fn upload(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Fault> {
    let mut body = Limitless(body);
    let taken = take(&api, &asker, &ident, &headers, &mut body).await;
    if taken.is_err() {
        body.drain().await;
    }
    taken.map(|()| StatusCode::NO_CONTENT)
}

async fn take(api: &Api, asker: &Asker, ident: &str, headers: &HeaderMap, body: &mut Limitless) -> Result<(), Fault> {
    must_be_octets(headers)?;
    let image = may(&api.engine.view(), asker, ident, "upload_image")?;
    let (length, limit) = (body.0.size_hint().exact(), api.tenants.image_bytes);
    let images = &api.engine.images;
    let begun = images.begin_deposit(&api.engine.store, asker.actor(), image.id, length, limit).await;
    let mut deposit = begun?;
    while let Some(bytes) = next(body).await? {
        deposit.take(&bytes).await?;
    }
    deposit.finish().await?;
    Ok(())
}

/// First byte of a part, by `Content-Range: bytes FIRST-LAST/TOTAL`.
fn first_byte(headers: &HeaderMap) -> Result<Option<(u64, u64)>, Fault> {
    let Some(value) = headers.get(header::CONTENT_RANGE) else { return Ok(None) };
    let read = || {
        let (span, total) = value.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = span.split_once('-')?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        let fits = match total {
            "*" => true,
            total => total.parse::<u64>().is_ok_and(|total| last < total),
        };
        (fits && first <= last).then(|| Some((first, last.checked_sub(first)?.checked_add(1)?))).flatten()
    };
    let found = read().ok_or_else(|| Fault::bad_request("Content-Range is written bytes FIRST-LAST/TOTAL."))?;
    Ok(Some(found))
}

/// `PUT /v2/images/{id}/stage`.
pub(super) async fn stage(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let mut body = Limitless(body);
    let taken = take_part(&api, &asker, &ident, &headers, &mut body).await;
    if taken.is_err() {
        body.drain().await;
    }
    Ok((StatusCode::NO_CONTENT, [(OFFSET, taken?.to_string())]).into_response())
}

async fn take_part(
    api: &Api,
    asker: &Asker,
    ident: &str,
    headers: &HeaderMap,
    body: &mut Limitless,
) -> Result<u64, Fault> {
    must_be_octets(headers)?;
    let image = may(&api.engine.view(), asker, ident, "upload_image")?;
    let range = first_byte(headers)?;
    let length = body.0.size_hint().exact().or(range.map(|(_, length)| length));
    let images = &api.engine.images;
    let first = range.map(|(first, _)| first);
    let mut part = images.begin_part(&api.engine.store, image.id, first, length).await?;
    let mut left = range.map(|(_, length)| length);
    while let Some(bytes) = next(body).await? {
        if let Some(left) = &mut left {
            let rest = left.checked_sub(bytes.len() as u64);
            *left = rest.ok_or_else(|| Fault::bad_request("The body is longer than its Content-Range."))?;
        }
        part.take(&bytes).await?;
    }
    Ok(part.finish().await?)
}

/// `HEAD /v2/images/{id}/stage`: where the next part begins.
pub(super) async fn staged(State(api): State<Api>, asker: Asker, Path(ident): Path<String>) -> Result<Response, Fault> {
    let image = may(&api.engine.view(), &asker, &ident, "upload_image")?;
    let here = api.engine.images.staged(image.id).await?.unwrap_or(0);
    Ok((StatusCode::NO_CONTENT, [(OFFSET, here.to_string())]).into_response())
}

/// `POST /v2/images/{id}/import`.
pub(super) async fn import(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
    body: Result<Json<Value>, JsonRejection>,
) -> Result<StatusCode, Fault> {
    let image = may(&api.engine.view(), &asker, &ident, "upload_image")?;
    let Json(body) = body?;
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
    let (images, store, limit) = (&api.engine.images, &api.engine.store, api.tenants.image_bytes);
    match text("/method/name") {
        Some("glance-direct") => images.deposit_staged(store, asker.actor(), image.id, limit).await?,
        Some("web-download") => {
            let url = text("/method/uri")
                .ok_or_else(|| Fault::bad_request("The method web-download needs the uri of the image."))?;
            // The box's own folder is its administrators'.
            let reach = if asker.allows("appliance:images", &()) { Reach::WebAndFolder } else { Reach::Web };
            images.deposit_from_url(store, asker.actor(), image.id, url, limit, reach)?;
        }
        Some(other) => {
            let message = format!("Unknown import method '{other}': glance-direct and web-download are known.");
            return Err(Fault::bad_request(message));
        }
        None => return Err(Fault::bad_request("Input must have a 'method' with a 'name'.")),
    }
    Ok(StatusCode::ACCEPTED)
}

/// `GET /v2/images/{id}/file`: the file as it was given, or the disk that was made of it where only that was kept; the
/// image's document says which ([`super::document`]).
pub(super) async fn download(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let image = may(&api.engine.view(), &asker, &ident, "download_image")?;
    if image.card.deactivated && !super::access::is_admin(&asker) {
        return Err(Fault::new(
            StatusCode::FORBIDDEN,
            "The requested image has been deactivated. Image data download is forbidden.",
        ));
    }
    if !is_filled(&image) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let (images, id) = (api.engine.images.clone(), image.id);
    let opened = tokio::task::spawn_blocking(move || {
        let stored = images.stored(id)?;
        let size = stored.given_size()?;
        Ok((stored, size))
    });
    let opened = opened.await.unwrap_or_else(|error| Err(std::io::Error::other(error.to_string())));
    let (stored, size) = opened.map_err(ImageError::from)?;
    let asked = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let span = match asked.map(|text| range(text, size)) {
        None | Some(Asked::Whole) => None,
        Some(Asked::Span(first, last)) => Some((first, last + 1)),
        Some(Asked::Outside) => {
            let content_range = format!("bytes */{size}");
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, content_range)]).into_response());
        }
    };
    let (start, end) = span.unwrap_or((0, size));
    let mut response = Response::new(Body::from_stream(chunks(stored, start, end)));
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(OCTETS));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(end - start));
    let md5 = image.card.given.as_ref().and_then(|given| HeaderValue::from_str(&given.md5).ok());
    if let Some(md5) = md5.filter(|_| span.is_none()) {
        headers.insert("content-md5", md5);
    }
    if span.is_some() {
        if let Ok(value) = HeaderValue::from_str(&format!("bytes {start}-{}/{size}", end - 1)) {
            headers.insert(header::CONTENT_RANGE, value);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// Reads from `start` to `end`, a chunk at a time, off the async threads.
fn chunks(stored: Arc<StoredImage>, start: u64, end: u64) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> {
    futures_util::stream::unfold(start, move |at| {
        let stored = stored.clone();
        async move {
            if at >= end {
                return None;
            }
            let read = tokio::task::spawn_blocking(move || {
                let step = stored.given_step(at)?;
                let mut buffer = vec![0; usize::try_from((end - at).min(step)).map_err(std::io::Error::other)?];
                stored.read_given(&mut buffer, at)?;
                Ok(Bytes::from(buffer))
            });
            let read = read.await.unwrap_or_else(|error| Err(std::io::Error::other(error.to_string())));
            // After an error the stream ends: the length promised is not reached, and the client notices.
            let next = read.as_ref().map_or(end, |bytes: &Bytes| at + bytes.len() as u64);
            Some((read, next))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Result<Option<(u64, u64)>, Fault> {
        let value = HeaderValue::from_str(text).expect("a header");
        first_byte(&HeaderMap::from_iter([(header::CONTENT_RANGE, value)]))
    }

    #[test]
    fn parts_say_where_they_begin() {
        assert_eq!(of("bytes 0-9/100").expect("a range"), Some((0, 10)));
        assert_eq!(of("bytes 10-10/*").expect("a range"), Some((10, 1)));
        assert_eq!(first_byte(&HeaderMap::new()).expect("none"), None);
        for bad in ["bytes 9-0/100", "bytes 0-100/100", "0-9/100", "bytes 0-9", "bytes -9/10", "items 0-9/100"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_range_is_read_or_refused(text in "(bytes )?[0-9]{0,21}-?[0-9]{0,21}/?[0-9*]{0,21}") {
            if let Ok(Some((first, length))) = of(&text) {
                prop_assert!(first.checked_add(length).is_some() || first == u64::MAX);
            }
        }
    }
}
