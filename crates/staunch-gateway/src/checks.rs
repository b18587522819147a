//! Asks servers whether they are well, beside the requests: on the runtime of the process, so that no
//! core ever waits for it.

use std::{convert::Infallible, io, pin::pin, sync::Arc};

use http_body_util::Empty;
use hyper::{
    Request, StatusCode, Uri,
    client::conn::http1,
    header::{HOST, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use staunch_config::{ActiveHealth, EndpointAddress};
use staunch_net::{Connection, DialError, DialOptions, Dialer};
use staunch_scope::{Context, ScopeBuilder, sleep, watch};
use tokio::time::{Instant, timeout};

use crate::plan::{Plan, ServerPlan, ServicePlan};

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

/// Asks as long as the task is not asked to stop; a new plan is another set of servers to ask.
pub(crate) async fn run(mut plans: watch::Receiver<Arc<Plan>>) {
    loop {
        let plan = plans.latest();
        let mut checking = pin!(check_all(&plan));
        tokio::select! {
            biased;
            changed = plans.changed() => if changed.is_err() { return },
            () = &mut checking => return, // it never ends but when it is asked to
        }
    }
}

/// As many checks as there are servers, which the configuration bounds.
async fn check_all(plan: &Plan) {
    let checks = ScopeBuilder::<Infallible>::new(&Context::current()).max_children(usize::MAX).run(
        async |scope| {
            for service in &plan.services {
                let Some(health) = &service.service.health else { continue };
                for (endpoint, server) in service.service.endpoints.iter().zip(&service.servers) {
                    let check = Check {
                        health: health.clone(),
                        address: endpoint.address.clone(),
                        service: Arc::clone(service),
                        server: Arc::clone(server),
                    };
                    scope.spawn_named("health check", async move {
                        check.run().await;
                        Ok(())
                    });
                }
            }
            scope.context().cancelled().await;
            Ok(())
        },
    );
    let _asked_to_stop = checks.await.result;
}

/// The checks of one server.
struct Check {
    health: ActiveHealth,
    address: EndpointAddress,
    service: Arc<ServicePlan>,
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
        let (service, server) = (self.service.name, self.server.name.as_str());
        if let Some(why) = why {
            tracing::warn!(service, server, "is down: {why}");
        } else {
            tracing::info!(service, server, "is back");
        }
    }

    async fn ask(&self) -> Result<(), Unwell> {
        let options = DialOptions { timeout: self.health.timeout, ..DialOptions::default() };
        let (dialer, context) = (Dialer::unwatched(options), Context::current());
        let (connection, host) = match &self.address {
            EndpointAddress::Tcp(address) => {
                (dialer.tcp(&context, address.as_str()).await?, address.as_str())
            }
            EndpointAddress::Unix(path) => (dialer.unix(&context, path).await?, "localhost"),
        };
        match &self.health.path {
            None => Ok(()),
            Some(path) => get(connection, path, host).await,
        }
    }
}

/// Asks for `path`; the answer's body is not waited for.
async fn get(connection: Connection, path: &str, host: &str) -> Result<(), Unwell> {
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
