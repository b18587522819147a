//! Why a request gets no page: a status, and a text that says what to do.

use hyper::{
    Method, StatusCode,
    header::{ALLOW, HeaderName, HeaderValue, WWW_AUTHENTICATE},
};

use staunch_scope::BoxError;

use crate::{
    access::Denied,
    query::QueryError,
    reply::{self, Reply},
    route::Route,
};

/// A request that gets no page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("There is no `{path}` here. There is:\n{}", routes.iter().map(Route::line).collect::<String>())]
    NoPage { path: String, routes: &'static [Route] },
    #[error("`{}` takes {}, not {method}.", route.path, route.methods())]
    Method { route: &'static Route, method: Method },
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("The request's body was not taken: {0}.")]
    Body(String),
    #[error("{0}")]
    NotFound(String),
    #[error(
        "A CPU profile is being taken, and there can be one at a time: ask again when it is done."
    )]
    Busy,
    #[error("{0}")]
    NotActive(&'static str),
    #[error("The service is ending.")]
    Ending,
    #[error("This went wrong: {0}")]
    Failed(String),
}

impl Refusal {
    /// For errors that no client can help.
    pub(crate) fn failed(error: impl Into<BoxError>) -> Refusal {
        let error: BoxError = error.into();
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Refusal::Failed(text)
    }

    fn status(&self) -> StatusCode {
        match self {
            Refusal::Denied(Denied::NoToken | Denied::WrongToken) => StatusCode::UNAUTHORIZED,
            Refusal::Denied(Denied::Peer | Denied::Host(_) | Denied::Origin) => {
                StatusCode::FORBIDDEN
            }
            Refusal::NoPage { .. } | Refusal::NotFound(_) => StatusCode::NOT_FOUND,
            Refusal::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Query(_) | Refusal::Body(_) => StatusCode::BAD_REQUEST,
            Refusal::Busy => StatusCode::CONFLICT,
            Refusal::NotActive(_) => StatusCode::NOT_IMPLEMENTED,
            Refusal::Ending => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(crate) fn reply(&self) -> Reply {
        let mut reply = reply::text(format!("{}\n", self.to_string().trim_end()));
        *reply.status_mut() = self.status();
        let headers = reply.headers_mut();
        // Makes `go tool pprof` show the text.
        headers.insert(HeaderName::from_static("x-go-pprof"), HeaderValue::from_static("1"));
        match self {
            Refusal::Denied(Denied::NoToken | Denied::WrongToken) => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Refusal::Method { route, .. } => {
                headers.insert(ALLOW, HeaderValue::from_static(route.methods()));
            }
            _ => {}
        }
        reply
    }
}
