//! What is sent, and what is sent with it.
//!
//! The policy names no inline script and no foreign source, so that text of a
//! model could not act even if it became markup. Nothing is kept by the browser
//! and no address (which holds the token) is told to another site.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::text::visible;

/// Headers of every answer.
const HEADERS: [(&str, &str); 8] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    (
        "permissions-policy",
        "camera=(), geolocation=(), microphone=()",
    ),
];

/// An answer of that type.
pub fn answer(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A JSON document.
pub fn document(value: &Value) -> Response<Body> {
    answer(
        StatusCode::OK,
        "application/json; charset=utf-8",
        value.to_string(),
    )
}

/// A sentence instead of a document.
pub fn refusal(status: StatusCode, said: &str) -> Response<Body> {
    let body = json!({ "error": visible(said) }).to_string();
    answer(status, "application/json; charset=utf-8", body)
}

/// Why a document cannot be given.
#[derive(Debug)]
pub enum Fault {
    /// The question is wrong.
    Asked(String),
    /// There is no such thing in this run.
    Absent(String),
    /// It is not known yet; asked again a little later it will be.
    Later(String),
    /// A file of the run cannot be read.
    Broken(String),
}

impl<E: Into<crate::error::ReportError>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Broken(error.into().to_string())
    }
}

impl Fault {
    /// The answer that says so.
    pub fn response(&self) -> Response<Body> {
        let (status, said) = match self {
            Self::Asked(said) => (StatusCode::BAD_REQUEST, said),
            Self::Absent(said) => (StatusCode::NOT_FOUND, said),
            Self::Later(said) => (StatusCode::SERVICE_UNAVAILABLE, said),
            Self::Broken(said) => (StatusCode::UNPROCESSABLE_ENTITY, said),
        };
        refusal(status, said)
    }
}
