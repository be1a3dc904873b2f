//! Who is answered at all.
//!
//! Everybody on the machine, and every web page in a browser on it, can send
//! requests to a port of the loopback interface. Answered are only those that
//! look at the viewer by its own name (`Host`; a foreign name that resolves to
//! 127.0.0.1 is another site), that no other site caused (`Origin`,
//! `Sec-Fetch-Site`), that only read, carry no body, and know the token.

use axum::http::{HeaderMap, Method, StatusCode, Uri, header};

use super::address::Token;

/// Longest path with query, in bytes.
const TARGET_BYTES: usize = 4096;

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The status that is sent instead.
    pub status: StatusCode,
    /// The sentence that is sent with it.
    pub said: &'static str,
}

const fn refused(status: StatusCode, said: &'static str) -> Result<(), Refusal> {
    Err(Refusal { status, said })
}

/// What is let through.
#[derive(Clone)]
pub struct Guard {
    token: Token,
    hosts: [String; 2],
}

impl Guard {
    /// Lets those through who know the token and ask this port.
    pub fn new(token: Token, port: u16) -> Self {
        Self {
            token,
            hosts: ["127.0.0.1", "localhost"].map(|name| format!("{name}:{port}")),
        }
    }

    /// Looks at everything but the body.
    pub fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return refused(StatusCode::METHOD_NOT_ALLOWED, "the viewer only reads");
        }
        let target = uri.path_and_query().map_or(0, |t| t.as_str().len());
        if target > TARGET_BYTES {
            return refused(StatusCode::URI_TOO_LONG, "the address is too long");
        }
        if uri.authority().is_some() {
            return refused(StatusCode::BAD_REQUEST, "the viewer is no proxy");
        }
        if has_body(headers) {
            return refused(StatusCode::PAYLOAD_TOO_LARGE, "the viewer takes no body");
        }
        self.check_names(headers)?;
        if !self.token.opens(uri.path()) {
            return refused(
                StatusCode::FORBIDDEN,
                "the address lacks the token that `forkscope view` printed",
            );
        }
        Ok(())
    }

    fn check_names(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let foreign = |said| refused(StatusCode::FORBIDDEN, said);
        let is_host = |name: &str| self.hosts.iter().any(|own| own.eq_ignore_ascii_case(name));
        if !one(headers, header::HOST).is_some_and(is_host) {
            return foreign("the viewer answers to 127.0.0.1 and localhost only");
        }
        if headers.contains_key(header::ORIGIN) {
            let origin = one(headers, header::ORIGIN).and_then(|o| o.strip_prefix("http://"));
            if !origin.is_some_and(is_host) {
                return foreign("the request comes from another site");
            }
        }
        let fetch = |name: &str| headers.get(name).map(|v| v.as_bytes());
        let from_elsewhere = !matches!(
            fetch("sec-fetch-site"),
            None | Some(b"none" | b"same-origin")
        );
        // A link to the viewer may be followed from anywhere: who has it has the token.
        if from_elsewhere && fetch("sec-fetch-mode") != Some(b"navigate") {
            return foreign("the request comes from another site");
        }
        Ok(())
    }
}

/// The value of a header that is there once.
fn one(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(first)
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).map(|v| v.as_bytes());
    headers.contains_key(header::TRANSFER_ENCODING) || !matches!(length, None | Some(b"0"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ReportError;
    use axum::http::HeaderValue;

    fn asked(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (
                header::HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        let mut headers = HeaderMap::new();
        pairs.for_each(|(name, value)| {
            headers.append(name, value);
        });
        headers
    }

    #[test]
    fn names_of_others_are_refused() -> Result<(), ReportError> {
        let token = Token::random()?;
        let uri: Uri = format!("/{}/", token.as_str()).parse().unwrap_or_default();
        let guard = Guard::new(token, 8123);
        let status = |pairs: &[(&'static str, &'static str)]| {
            let checked = guard.check(&Method::GET, &uri, &asked(pairs));
            checked.map_or_else(|r| r.status.as_u16(), |()| 200)
        };
        let host = ("host", "127.0.0.1:8123");
        assert_eq!(status(&[host]), 200);
        assert_eq!(status(&[("host", "LOCALHOST:8123")]), 200);
        for name in [
            "127.0.0.1",
            "127.0.0.1:80",
            "evil.example:8123",
            "127.0.0.1:8123.evil.example",
            "localhost:8123@evil",
            "0.0.0.0:8123",
            "[::1]:8123",
            "",
        ] {
            assert_eq!(status(&[("host", name)]), 403, "{name}");
        }
        assert_eq!(status(&[]), 403);
        assert_eq!(status(&[host, host]), 403);
        assert_eq!(status(&[host, ("origin", "http://localhost:8123")]), 200);
        for origin in [
            "null",
            "http://evil.example",
            "https://127.0.0.1:8123",
            "http://127.0.0.1:8124",
        ] {
            assert_eq!(status(&[host, ("origin", origin)]), 403, "{origin}");
        }
        let site = |s| ("sec-fetch-site", s);
        assert_eq!(status(&[host, site("none")]), 200);
        assert_eq!(status(&[host, site("same-origin")]), 200);
        assert_eq!(status(&[host, site("same-site")]), 403);
        assert_eq!(status(&[host, site("cross-site")]), 403);
        let link = ("sec-fetch-mode", "navigate");
        assert_eq!(status(&[host, site("cross-site"), link]), 200);
        assert_eq!(status(&[host, ("content-length", "3")]), 413);
        assert_eq!(status(&[host, ("transfer-encoding", "chunked")]), 413);
        assert_eq!(status(&[host, ("content-length", "0")]), 200);
        Ok(())
    }

    #[test]
    fn only_reading_is_answered() -> Result<(), ReportError> {
        let token = Token::random()?;
        let path = format!("/{}/", token.as_str());
        let guard = Guard::new(token, 1);
        let headers = asked(&[("host", "127.0.0.1:1")]);
        let status = |method: Method, target: &str| {
            let uri: Uri = target.parse().unwrap_or_default();
            let checked = guard.check(&method, &uri, &headers);
            checked.map_or_else(|r| r.status.as_u16(), |()| 200)
        };
        assert_eq!(status(Method::HEAD, &path), 200);
        for method in [
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::OPTIONS,
            Method::CONNECT,
        ] {
            assert_eq!(status(method, &path), 405);
        }
        let long = format!("{path}?x={}", "y".repeat(5000));
        assert_eq!(status(Method::GET, &long), 414);
        assert_eq!(status(Method::GET, &format!("http://evil{path}")), 400);
        assert_eq!(status(Method::GET, "/"), 403);
        Ok(())
    }
}
