//! Refusals in Neutron's form: `{"NeutronError": {"type": …, "message": …, "detail": ""}}`.

use crate::access;
use crate::auth::CallerOr;
use crate::error::ApiError;
use axum::extract::rejection::JsonRejection;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use leasehold_domain::Refusal;
use leasehold_store::SubmitError;
use serde_json::json;

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Fault {
    error: ApiError,
    /// Neutron's name of it, by which its own client chooses an exception.
    kind: &'static str,
}

impl Fault {
    pub(super) fn bad_request(message: impl Into<String>) -> Fault {
        ApiError::bad_request(message).into()
    }

    /// `what`: `Network`, `Subnet`, `Port`.
    pub(super) fn not_found(what: &'static str, ident: &str) -> Fault {
        let kind = match what {
            "Network" => "NetworkNotFound",
            "Subnet" => "SubnetNotFound",
            "Port" => "PortNotFound",
            _ => "HTTPNotFound",
        };
        Fault { error: ApiError::not_found(format!("{what} {ident} could not be found.")), kind }
    }

    pub(super) fn forbidden(rule: &str) -> Fault {
        let error = ApiError::new(access::forbidden(rule).status, format!("{rule} is disallowed by policy"));
        Fault { error, kind: "PolicyNotAuthorized" }
    }

    /// The object is not as the caller's `If-Match` says.
    pub(super) fn another_revision() -> Fault {
        let message = "The object was changed since that revision_number: read it again and repeat the change.";
        Fault { error: ApiError::new(StatusCode::PRECONDITION_FAILED, message), kind: "RevisionNumberConstraintFailed" }
    }
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Fault {
        let kind = match error.status {
            StatusCode::BAD_REQUEST => "InvalidInput",
            StatusCode::FORBIDDEN => "PolicyNotAuthorized",
            StatusCode::NOT_FOUND => "HTTPNotFound",
            StatusCode::CONFLICT => "Conflict",
            _ => "HTTPError",
        };
        Fault { error, kind }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        let kind = match &refusal {
            // Neutron answers a full quota as a conflict.
            Refusal::TooMuch(_) => {
                return Fault { error: ApiError::new(StatusCode::CONFLICT, refusal.to_string()), kind: "OverQuota" };
            }
            Refusal::NotFound { what: "Network", .. } => Some("NetworkNotFound"),
            Refusal::NotFound { what: "Subnet", .. } => Some("SubnetNotFound"),
            Refusal::NotFound { what: "Port", .. } => Some("PortNotFound"),
            Refusal::Exists { what: "A port with IP address", .. } => Some("IpAddressAlreadyAllocated"),
            _ => None,
        };
        let fault = Fault::from(ApiError::from(refusal));
        Fault { kind: kind.unwrap_or(fault.kind), ..fault }
    }
}

impl From<SubmitError> for Fault {
    fn from(error: SubmitError) -> Fault {
        match error {
            SubmitError::Refused(refusal) => refusal.into(),
            other => ApiError::from(other).into(),
        }
    }
}

impl From<JsonRejection> for Fault {
    fn from(rejection: JsonRejection) -> Fault {
        ApiError::new(rejection.status(), rejection.body_text()).into()
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let Fault { error, kind } = self;
        error.with_body(&json!({"NeutronError": {"type": kind, "message": error.message, "detail": ""}}))
    }
}

/// The caller of a call of this API.
pub(super) type Asker = CallerOr<Fault>;

pub(super) async fn no_such_path(uri: Uri) -> Fault {
    ApiError::not_found(format!("There is nothing at {}.", uri.path())).into()
}

pub(super) async fn no_such_method(method: Method, uri: Uri) -> Fault {
    let message = format!("{} does not take {method}.", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message).into()
}
