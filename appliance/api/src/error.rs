//! Refusals as HTTP: the status that Ironic uses for each, and Ironic's error body.

use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use leasehold_domain::Refusal;
use leasehold_store::{ReadError, SubmitError};
use serde_json::{Value, json};

/// An answer that is no success.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// Seconds until it is worth trying again.
    pub(crate) retry_after: Option<u64>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> ApiError {
        ApiError { status, message: message.into(), retry_after: None }
    }

    /// 429: not before so many seconds have passed.
    pub(crate) fn too_many(message: impl Into<String>, retry_after: u64) -> ApiError {
        ApiError { status: StatusCode::TOO_MANY_REQUESTS, message: message.into(), retry_after: Some(retry_after) }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, message)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        let status = match &refusal {
            Refusal::NotFound { .. } => StatusCode::NOT_FOUND,
            Refusal::Exists { .. }
            | Refusal::Locked { .. }
            | Refusal::Conflict { .. }
            | Refusal::InUse(_)
            | Refusal::Plugged(_)
            | Refusal::Stale => StatusCode::CONFLICT,
            Refusal::State { .. } | Refusal::Invalid(_) => StatusCode::BAD_REQUEST,
            Refusal::Forbidden(_) | Refusal::OverQuota(_) => StatusCode::FORBIDDEN,
            Refusal::TooMuch(_) => StatusCode::PAYLOAD_TOO_LARGE,
        };
        ApiError::new(status, refusal.to_string())
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> ApiError {
        match error {
            SubmitError::Refused(refusal) => refusal.into(),
            SubmitError::DiskFull { .. } => ApiError::new(StatusCode::INSUFFICIENT_STORAGE, error.to_string()),
            _ => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl ApiError {
    /// The answer with the body of one of the services: the challenge of a 401 and `Retry-After` are those of all.
    pub(crate) fn with_body(&self, body: &Value) -> Response {
        let body = body.to_string();
        let mut response = (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = header::HeaderValue::from_static("Basic realm=\"Leasehold\", charset=\"UTF-8\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl IntoResponse for ApiError {
    /// Ironic's body: a JSON object inside a string.
    fn into_response(self) -> Response {
        let code = if self.status.is_server_error() { "Server" } else { "Client" };
        let inner = json!({"faultcode": code, "faultstring": self.message, "debuginfo": null}).to_string();
        self.with_body(&json!({"error_message": inner}))
    }
}

/// For every path that nobody serves.
pub(crate) async fn no_such_path(uri: Uri) -> ApiError {
    ApiError::not_found(format!("There is nothing at {}.", uri.path()))
}

/// For a method that a path does not take.
pub(crate) async fn no_such_method(method: axum::http::Method, uri: Uri) -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}.", uri.path()))
}
