//! Asks servers whether they are well, beside the requests: on the runtime of the process, so that
//! no core ever waits for it.

use std::{convert::Infallible, io, sync::Arc};

use http_body_util::Empty;
use hyper::{
    Request, StatusCode, Uri,
    client::conn::http1,
    header::{HOST, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use staunch_config::{ActiveHealth, Endpoint, EndpointAddress, ProxyProtocol};
use staunch_net::{DialError, DialOptions, Dialer};
use staunch_scope::{Context, ScopeBuilder, sleep, watch};
use tokio::time::{Instant, timeout};

use crate::{
    children::Children,
    link::{Carries, Link, LinkTls},
    plan::{Plan, ServerPlan, ServicePlan},
};

/// A server is not well.
#[derive(Debug, thiserror::Error)]
enum Unwell {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("it answers {0}")]
    Status(StatusCode),
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("no answer within {0:?} (`timeout`)")]
    Late(std::time::Duration),
    #[error("it cannot be asked: {0}")]
    Request(io::Error),
}

/// Asks as long as the task is not asked to stop. A new plan is another set of servers to ask;
/// those that stay are asked as before, however often plans change.
pub(crate) async fn run(mut plans: watch::Receiver<Arc<Plan>>) {
    let checks = ScopeBuilder::<Infallible>::new(&Context::current())
        .max_children(usize::MAX) // as many as there are servers, which are bounded
        .run(async |scope| {
            let mut checks = Children::new();
            loop {
                let plan = plans.latest();
                let wanted = plan.services.iter().flat_map(of_service);
                checks.set(&scope, "health check", wanted, Check::run);
                if plans.changed().await.is_err() {
                    scope.stop();
                    return Ok(());
                }
            }
        });
    let _asked_to_stop = checks.await.result;
}

/// What a check is known by: the server it is for, and how that is asked.
type Key = (usize, ActiveHealth, Option<usize>, Option<ProxyProtocol>);

fn of_service(service: &Arc<ServicePlan>) -> Vec<(Key, Check)> {
    let Some(health) = &service.service.health else { return Vec::new() };
    let servers = service.service.endpoints.iter().zip(&service.servers);
    let check = |(endpoint, server): (&Endpoint, &Arc<ServerPlan>)| {
        let check = Check {
            health: health.clone(),
            address: endpoint.address.clone(),
            tls: service.tls.clone(),
            proxy_protocol: service.service.proxy_protocol,
            service: service.name,
            server: Arc::clone(server),
        };
        // The check holds them, so that no other one has its address as long as it runs.
        let server = Arc::as_ptr(server).addr();
        let tls = check.tls.as_ref().map(|tls| Arc::as_ptr(tls).addr());
        ((server, health.clone(), tls, check.proxy_protocol), check)
    };
    servers.map(check).collect()
}

/// The checks of one server.
struct Check {
    health: ActiveHealth,
    address: EndpointAddress,
    tls: Option<Arc<LinkTls>>,
    proxy_protocol: Option<ProxyProtocol>,
    service: &'static str,
    server: Arc<ServerPlan>,
}

impl Check {
    async fn run(self) {
        let (mut failures, mut successes) = (0, 0);
        loop {
            let limit = self.health.timeout;
            let asked = timeout(limit, self.ask()).await;
            match asked.unwrap_or(Err(Unwell::Late(limit))) {
                Ok(()) => {
                    (failures, successes) = (0, successes + 1);
                    if successes >= self.health.successes.get() {
                        self.tell(false, None);
                    }
                }
                Err(Unwell::Dial(DialError::Cancelled(_))) => return,
                Err(Unwell::Dial(error)) if error.is_local() => {
                    tracing::debug!(service = self.service, %error, "a check cannot be made");
                }
                Err(why) => {
                    (failures, successes) = (failures + 1, 0);
                    if failures >= self.health.failures.get() {
                        self.tell(true, Some(&why));
                    }
                }
            }
            if sleep(self.health.every).await.is_err() {
                return;
            }
        }
    }

    fn tell(&self, is_down: bool, why: Option<&Unwell>) {
        if !self.server.health.set_down(is_down, Instant::now()) {
            return;
        }
        let (service, server) = (self.service, self.server.name.as_str());
        if let Some(why) = why {
            tracing::warn!(service, server, "is down: {why}");
        } else {
            tracing::info!(service, server, "is back");
        }
    }

    async fn ask(&self) -> Result<(), Unwell> {
        let options = DialOptions { timeout: self.health.timeout, ..DialOptions::default() };
        let (dialer, tls) = (Dialer::unwatched(options), self.tls.as_deref());
        // It is our own connection.
        let carries = self.health.path.as_ref().map_or(Carries::Bytes(None), |_| Carries::Http);
        let how = (carries, self.proxy_protocol);
        let connection = Link::dial(&dialer, &self.address, tls, how).await?;
        let host = match &self.address {
            EndpointAddress::Tcp(address) => address.as_str(),
            EndpointAddress::Unix(_) => "localhost",
        };
        match &self.health.path {
            None => Ok(()),
            Some(path) => get(connection, path, host).await,
        }
    }
}

/// Asks for `path`; the answer's body is not waited for.
async fn get(connection: Link, path: &str, host: &str) -> Result<(), Unwell> {
    let invalid = |error: hyper::http::Error| Unwell::Request(io::Error::other(error));
    let uri = path.parse::<Uri>().map_err(|error| invalid(error.into()))?;
    let host = HeaderValue::from_str(host).map_err(|error| invalid(error.into()))?;
    let asked = Request::get(uri)
        .header(HOST, host)
        .header(USER_AGENT, HeaderValue::from_static("staunch-health"))
        .body(Empty::<bytes::Bytes>::new())
        .map_err(invalid)?;
    let (mut sender, driver) = http1::handshake(TokioIo::new(connection)).await?;
    let answer = tokio::select! {
        biased;
        answer = sender.send_request(asked) => answer?,
        ended = driver => {
            ended?;
            return Err(Unwell::Request(io::ErrorKind::UnexpectedEof.into()));
        }
    };
    let status = answer.status();
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(Unwell::Status(status))
    }
}
