//! Refusals as esi-leap has them: `{"faultcode": …, "faultstring": …, "debuginfo": null}`. Clients show `faultstring`.

use crate::access;
use crate::auth::CallerOr;
use crate::error::ApiError;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use leasehold_store::{ReadError, SubmitError};
use serde_json::json;

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Fault(ApiError);

impl Fault {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Fault {
        Fault(ApiError::new(status, message))
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Fault {
        Fault(ApiError::bad_request(message))
    }

    /// `what`: `Offer`, `Lease`. The words are the same whether it is another's or nobody's.
    pub(super) fn not_found(what: &str, ident: &str) -> Fault {
        Fault(ApiError::not_found(format!("{what} with name or uuid {ident} not found.")))
    }

    pub(super) fn conflict(message: impl Into<String>) -> Fault {
        Fault(ApiError::new(StatusCode::CONFLICT, message))
    }

    pub(super) fn forbidden(rule: &str) -> Fault {
        Fault(access::forbidden(rule))
    }

    pub(super) fn no_answer() -> Fault {
        Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "The change brought neither offer nor lease.")
    }
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Fault {
        Fault(error)
    }
}

impl From<SubmitError> for Fault {
    fn from(error: SubmitError) -> Fault {
        Fault(error.into())
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Fault {
        Fault(error.into())
    }
}

impl From<JsonRejection> for Fault {
    fn from(rejection: JsonRejection) -> Fault {
        // JSON that says something twice is wrong as a whole.
        let status = Some(rejection.status()).filter(|status| *status != StatusCode::UNPROCESSABLE_ENTITY);
        Fault::new(status.unwrap_or(StatusCode::BAD_REQUEST), rejection.body_text())
    }
}

impl From<QueryRejection> for Fault {
    fn from(rejection: QueryRejection) -> Fault {
        Fault::new(rejection.status(), rejection.body_text())
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let code = if self.0.status.is_server_error() { "Server" } else { "Client" };
        self.0.with_body(&json!({"faultcode": code, "faultstring": self.0.message, "debuginfo": null}))
    }
}

/// The caller of a call of this API.
pub(super) type Asker = CallerOr<Fault>;

pub(super) async fn no_such_path(uri: Uri) -> Fault {
    Fault(ApiError::not_found(format!("There is nothing at {}.", uri.path())))
}

pub(super) async fn no_such_method(method: Method, uri: Uri) -> Fault {
    Fault::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}.", uri.path()))
}
