//! Refusals: `{"error": {"code": …, "title": …, "message": …}}`, which clients show as it is.

use crate::auth::CallerOr;
use crate::error::ApiError;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderName, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use leasehold_domain::Refusal;
use leasehold_engine::images::ImageError;
use leasehold_store::SubmitError;
use serde_json::json;

/// Where the next part of an image begins.
pub(super) const OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Fault {
    error: ApiError,
    offset: Option<u64>,
}

impl Fault {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Fault {
        ApiError::new(status, message).into()
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Fault {
        ApiError::bad_request(message).into()
    }

    pub(super) fn no_image(ident: &str) -> Fault {
        ApiError::not_found(format!("No image found with ID {ident}")).into()
    }

    pub(super) fn forbidden(rule: &str) -> Fault {
        crate::access::forbidden(rule).into()
    }
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Fault {
        Fault { error, offset: None }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        ApiError::from(refusal).into()
    }
}

impl From<SubmitError> for Fault {
    fn from(error: SubmitError) -> Fault {
        ApiError::from(error).into()
    }
}

impl From<ImageError> for Fault {
    fn from(error: ImageError) -> Fault {
        let offset = match &error {
            ImageError::Offset { at } => Some(*at),
            _ => None,
        };
        Fault { error: error.into(), offset }
    }
}

impl From<JsonRejection> for Fault {
    fn from(rejection: JsonRejection) -> Fault {
        Fault::new(rejection.status(), rejection.body_text())
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let Fault { error, offset } = self;
        let title = error.status.canonical_reason().unwrap_or("Error");
        let body = json!({"error": {"code": error.status.as_u16(), "title": title, "message": error.message}});
        let mut answer = error.with_body(&body);
        if let Some(offset) = offset {
            answer.headers_mut().insert(OFFSET, offset.into());
        }
        answer
    }
}

/// The caller of a call of this API.
pub(super) type Asker = CallerOr<Fault>;

pub(super) async fn no_such_path(uri: Uri) -> Fault {
    ApiError::not_found(format!("There is nothing at {}.", uri.path())).into()
}

pub(super) async fn no_such_method(method: Method, uri: Uri) -> Fault {
    Fault::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}.", uri.path()))
}
