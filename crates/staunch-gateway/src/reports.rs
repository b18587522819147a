//! What is told of requests once they have ended: the access log and traces. Whoever tells it
//! outlives the cores, so that what a drain ends is told, too.

use std::{convert::Infallible, sync::Arc, time::Duration};

use staunch_config::Config;
use staunch_scope::{Context, ScopeBuilder, shield};

use crate::{
    access::{AccessLog, Source, keep_written},
    gateway::GatewayError,
    traces::{Traces, keep_sent},
};

/// Those that the configuration has.
#[derive(Clone, Debug)]
pub(crate) struct Reports {
    pub(crate) log: Option<Arc<AccessLog>>,
    pub(crate) traces: Option<Arc<Traces>>,
}

/// What the last of it may take at the end.
const GRACE: Duration = Duration::from_secs(2);

impl Reports {
    /// For so many cores. Opens the files that `config` names, and so blocks for a moment.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub(crate) fn open(config: &Config, cores: usize) -> Result<Reports, GatewayError> {
        let log = config.access_log.as_ref().map(|log| AccessLog::open(log, cores)).transpose()?;
        let traces = config.traces.as_ref().map(|it| Traces::open(it, cores)).transpose()?;
        Ok(Reports { log: log.map(Arc::new), traces: traces.map(Arc::new) })
    }

    fn are_any(&self) -> bool {
        self.log.is_some() || self.traces.is_some()
    }

    /// What a listener on a core needs, if anything is told.
    pub(crate) fn source(&self, lane: usize, name: &str, is_secure: bool) -> Option<Arc<Source>> {
        self.are_any().then(|| Arc::new(Source::new(self.clone(), lane, name, is_secure)))
    }

    /// Does `work`, and has what comes of it told meanwhile and, what is left, afterwards.
    ///
    /// # Cancel safety
    /// As that of `work`; what there is is told to its end all the same.
    pub(crate) async fn around<R>(
        &self,
        context: &Context,
        work: impl Future<Output = R>,
    ) -> Option<R> {
        if !self.are_any() {
            return Some(work.await);
        }
        let mut done = None;
        let telling = ScopeBuilder::<Infallible>::new(&context.without_cancel()).grace(GRACE);
        // Shielded: it is the listeners that are asked to stop, by their context; the grace is for
        // what comes after them.
        let ended = shield(telling.run(async |scope| {
            if let Some(log) = self.log.clone() {
                let _owned_by_scope = scope.blocking(move |asked| {
                    keep_written(asked, &log);
                    Ok(())
                });
            }
            if let Some(traces) = self.traces.clone() {
                scope.spawn_named("traces", async {
                    keep_sent(traces).await;
                    Ok(())
                });
            }
            done = Some(work.await);
            scope.stop();
            Ok(())
        }))
        .await;
        for forced in &ended.forced {
            tracing::warn!(?forced, "what requests were could not be told to its end");
        }
        done
    }
}
