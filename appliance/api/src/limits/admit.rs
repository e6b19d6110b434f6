//! The first thing that happens to a request: whether it may come in, and how it is computed.

use super::fair::Fair;
use super::{Ticket, Why, network_of};
use crate::auth::Origin;
use crate::error::ApiError;
use crate::idle::Held;
use crate::{Api, auth, identity, image, lease, network};
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use leasehold_domain::command::Actor;

/// What can be asked of the listener for users; each words its refusals in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Identity,
    Network,
    Image,
    Lease,
    /// The bare-metal API and the appliance's own.
    BareMetal,
}

impl Service {
    fn of(path: &str) -> Service {
        match path.split('/').nth(1) {
            Some("identity") => Service::Identity,
            Some("network") => Service::Network,
            Some("image") => Service::Image,
            Some("lease") => Service::Lease,
            _ => Service::BareMetal,
        }
    }

    fn answer(self, error: ApiError) -> Response {
        match self {
            Service::Identity => identity::refused(error),
            Service::Network => network::refused(error),
            Service::Image => image::refused(error),
            Service::Lease => lease::refused(error),
            Service::BareMetal => error.into_response(),
        }
    }
}

/// How a request is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Whether the program lives is not asked in vain, however full it is.
    Probe,
    /// Somebody wants to become known: what he shows else does not count.
    Login,
    /// Long, and cheap to compute: the bytes of images, and waiting for news.
    Stream,
    Call,
}

impl Kind {
    fn of(method: &Method, uri: &Uri, headers: &HeaderMap) -> Kind {
        let is = |name: header::HeaderName, value: &str| {
            headers.get(name).and_then(|text| text.to_str().ok()).is_some_and(|text| text.contains(value))
        };
        // Read as those read it who then wait: however it is written.
        let waits = || {
            let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri).map(|Query(pairs)| pairs);
            pairs
                .unwrap_or_default()
                .iter()
                .any(|(name, value)| name == "wait" || (name == "follow" && value == "true"))
        };
        let path = uri.path();
        match path {
            "/healthz" | "/readyz" => Kind::Probe,
            "/identity/v3/auth/tokens" | "/appliance/v1/session" | "/appliance/v1/invitations/accept"
                if *method == Method::POST =>
            {
                Kind::Login
            }
            "/appliance/v1/images" if *method == Method::POST => Kind::Stream,
            _ if path.starts_with("/image/") && (path.ends_with("/file") || path.ends_with("/stage")) => Kind::Stream,
            _ if path.starts_with("/appliance/") && waits() => Kind::Stream,
            _ if headers.contains_key(header::UPGRADE) || is(header::ACCEPT, "text/event-stream") => Kind::Stream,
            _ => Kind::Call,
        }
    }
}

/// Lets a request in, or turns it away.
pub(crate) async fn admit(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let uri = request.uri();
    let service = Service::of(uri.path());
    let kind = Kind::of(request.method(), uri, request.headers());
    if kind == Kind::Probe {
        return next.run(request).await;
    }
    let origin = Origin::of(request.extensions());
    let ticket = match check(&api, &request, service, kind, &origin) {
        Ok(ticket) => ticket,
        Err((why, error)) => {
            note(&api, why, &origin, None, &error.message);
            return service.answer(error);
        }
    };
    request.extensions_mut().insert(ticket.clone());
    let answer = Fair::new(next.run(request), ticket.clone()).await;
    if let Some(why) = ticket.limited() {
        let told = format!("more than limits.{} allows", why.name());
        note(&api, why, &origin, Some(&ticket), &told);
    } else if ticket.user().is_none() {
        // Known to nobody, and answered all the same: what is left of the network's tokens pays for it.
        let _spent = ticket.is_nobodys();
    }
    answer.map(|body| Body::new(Held::new(body, ticket)))
}

/// What can be said before it is known who asks.
fn check(
    api: &Api,
    request: &Request,
    service: Service,
    kind: Kind,
    origin: &Origin,
) -> Result<Ticket, (Why, ApiError)> {
    let limits = &api.limits;
    let settings = &limits.settings;
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > settings.target_bytes {
        let text = format!("The request's path and query have more than {} bytes.", settings.target_bytes);
        return Err((Why::Target, ApiError::new(StatusCode::URI_TOO_LONG, text)));
    }
    let headers: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers > settings.header_bytes {
        let text = format!("The request's headers have more than {} bytes.", settings.header_bytes);
        return Err((Why::Headers, ApiError::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text)));
    }
    let most = match service {
        Service::Identity => settings.identity_body,
        // Bodies of both are small objects.
        Service::Network | Service::Lease => settings.network_body,
        Service::Image => settings.image_body,
        Service::BareMetal => settings.bare_metal_body,
    };
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if kind != Kind::Stream && length.is_some_and(|length: u64| length > most as u64) {
        let text = format!("The request's body has more than {most} bytes.");
        return Err((Why::Body, ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, text)));
    }
    let network = origin.address.map(|address| network_of(Some(address)));
    let ticket = Ticket::new(limits, network, kind == Kind::Stream)?;
    // Who shows nothing, or a token that is none, pays in advance.
    if kind == Kind::Login || !auth::may_be_known(api, request.headers()) {
        ticket.is_nobodys().map_err(|error| (Why::AddressRate, error))?;
    }
    Ok(ticket)
}

/// Counts what was turned away, and notes it in the audit, where a flood becomes one row.
fn note(api: &Api, why: Why, origin: &Origin, ticket: Option<&Ticket>, told: &str) {
    api.limits.count(why);
    let view = api.engine.view();
    let user = ticket.and_then(Ticket::user).and_then(|id| view.identity.user(id));
    let who = user.map_or_else(|| origin.stranger("(not known)"), |user| origin.who(user));
    api.engine.store.note_refusal_of(&Actor::User(who.into()), "request", None, told);
}

/// Bounds the calls of agents all together. Their images have bounds for each job.
pub(crate) async fn admit_agents(State(api): State<Api>, request: Request, next: Next) -> Response {
    if request.uri().path().starts_with("/images/") {
        return next.run(request).await;
    }
    match api.limits.of_agents.take(None) {
        Ok(_place) => next.run(request).await,
        Err(_) => {
            api.limits.count(Why::Requests);
            let text = "The appliance has as many calls of agents at a time as it takes: call again in a moment.";
            let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text);
            ApiError { retry_after: Some(1), ..error }.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn what_streams_and_who_logs_in_is_told_by_the_request() {
        let none = HeaderMap::new();
        let uri = |text: &str| text.parse::<Uri>().expect("a URI");
        let kind = |method: Method, path: &str| Kind::of(&method, &uri(path), &none);
        assert_eq!(kind(Method::GET, "/healthz"), Kind::Probe);
        assert_eq!(kind(Method::POST, "/identity/v3/auth/tokens"), Kind::Login);
        assert_eq!(kind(Method::GET, "/identity/v3/auth/tokens"), Kind::Call);
        assert_eq!(kind(Method::PUT, "/image/v2/images/1/file"), Kind::Stream);
        assert_eq!(kind(Method::PUT, "/image/v2/images/1/stage"), Kind::Stream);
        assert_eq!(kind(Method::GET, "/baremetal/v1/nodes/file"), Kind::Call);
        assert_eq!(kind(Method::GET, "/appliance/v1/nodes/1/trace?a=b&wait=9"), Kind::Stream);
        for query in ["follow=true", "follow=%74rue", "f%6fllow=true", "a&follow=true"] {
            assert_eq!(kind(Method::GET, &format!("/appliance/v1/events?{query}")), Kind::Stream, "{query}");
        }
        assert_eq!(kind(Method::GET, "/appliance/v1/events?follow=false&type=lease"), Kind::Call);
        let upgrade = HeaderMap::from_iter([(header::UPGRADE, HeaderValue::from_static("websocket"))]);
        assert_eq!(Kind::of(&Method::GET, &uri("/x"), &upgrade), Kind::Stream);
    }

    #[test]
    fn the_service_is_the_first_part_of_the_path() {
        for (path, service) in [
            ("/identity/v3/users", Service::Identity),
            ("/network/v2.0/ports", Service::Network),
            ("/image", Service::Image),
            ("/baremetal/v1/identity", Service::BareMetal),
            ("/identityx", Service::BareMetal),
        ] {
            assert_eq!(Service::of(path), service, "{path}");
        }
    }
}
