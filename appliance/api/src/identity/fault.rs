//! Refusals in Keystone's form: `{"error": {"code": …, "message": …, "title": …}}`.

use crate::access;
use crate::auth::CallerOr;
use crate::auth::login::{LoginError, seconds, wait_text};
use crate::error::ApiError;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use leasehold_domain::Refusal;
use leasehold_domain::identity::id_text;
use leasehold_store::SubmitError;
use serde_json::json;

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Fault(ApiError);

impl Fault {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Fault {
        Fault(ApiError::new(status, message))
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Fault {
        Fault::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn not_found(what: &str, name: &str) -> Fault {
        Fault::new(StatusCode::NOT_FOUND, format!("Could not find {what}: {name}."))
    }

    pub(super) fn forbidden(rule: &str) -> Fault {
        Fault(access::forbidden(rule))
    }

    /// The same refusal for the appliance's own API.
    pub(super) fn into_api_error(self) -> ApiError {
        self.0
    }

    /// 401, with the same words for whatever was wrong.
    pub(super) fn unauthorized() -> Fault {
        Fault::new(StatusCode::UNAUTHORIZED, "The request you have made requires authentication.")
    }
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Fault {
        if error.status == StatusCode::UNAUTHORIZED { Fault::unauthorized() } else { Fault(error) }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        Fault(refusal.into())
    }
}

impl From<SubmitError> for Fault {
    fn from(error: SubmitError) -> Fault {
        Fault(error.into())
    }
}

impl From<JsonRejection> for Fault {
    fn from(rejection: JsonRejection) -> Fault {
        Fault::new(rejection.status(), rejection.body_text())
    }
}

impl From<LoginError> for Fault {
    fn from(error: LoginError) -> Fault {
        match error {
            LoginError::Wrong => Fault::unauthorized(),
            LoginError::Wait(wait) => Fault(ApiError::too_many(wait_text(wait), seconds(wait))),
            // Keystone's words: clients recognise them.
            LoginError::OneTime(user) => Fault::new(
                StatusCode::UNAUTHORIZED,
                format!("The password is expired and needs to be changed for user: {}.", id_text(user.0)),
            ),
            LoginError::Other(error) => error.into(),
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let ApiError { status, message, retry_after } = self.0;
        let title = status.canonical_reason().unwrap_or("Error");
        let body = json!({"error": {"code": status.as_u16(), "message": message, "title": title}});
        let mut answer = (status, Json(body)).into_response();
        if let Some(seconds) = retry_after {
            answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        answer
    }
}

/// The caller of a call of this API.
pub(super) type Asker = CallerOr<Fault>;

pub(super) async fn no_such_path(uri: Uri) -> Fault {
    Fault::new(StatusCode::NOT_FOUND, format!("There is nothing at {}{}.", super::V3, uri.path()))
}

pub(super) async fn no_such_method(method: Method) -> Fault {
    Fault::new(StatusCode::METHOD_NOT_ALLOWED, format!("This path does not take {method}."))
}
