//! A connection on its way: neither idle nor leased.

use std::sync::Arc;

use crate::{
    manager::{Condition, Manager},
    options::PoolOptions,
    record::Record,
    status::Destroyed,
};

/// A connection that is neither idle nor leased, such as one that is being validated. Dropped, it
/// is destroyed: nobody knows in what condition it is.
pub(crate) struct Floating<M: Manager>(Option<Arc<Record<M>>>);

const FLOATS: &str = "a floating connection has its record until it lands";

impl<M: Manager> Floating<M> {
    pub(crate) fn new(record: Arc<Record<M>>) -> Floating<M> {
        Floating(Some(record))
    }

    pub(crate) fn record(&self) -> &Arc<Record<M>> {
        self.0.as_ref().expect(FLOATS)
    }

    /// It is good.
    pub(crate) fn keep(mut self) -> Arc<Record<M>> {
        self.0.take().expect(FLOATS)
    }

    /// It is to end.
    pub(crate) fn end(mut self, why: Destroyed) {
        if let Some(record) = self.0.take() {
            record.shared.destroy(&record, why);
        }
    }

    /// Resets it if it is dirty, validates it if that is wanted; `None` when it failed.
    pub(crate) async fn checked(
        self,
        condition: Condition,
        validate: bool,
    ) -> Option<Arc<Record<M>>> {
        let record = self.record();
        let shared = Arc::clone(&record.shared);
        let Some(mut pooled) = record.connection().take() else {
            self.end(Destroyed::Broken);
            return None;
        };
        let PoolOptions { reset_timeout, validation_timeout, .. } = shared.options;
        let check = async {
            if condition == Condition::Dirty {
                let reset = shared.manager.reset(&mut pooled.connection);
                tokio::time::timeout(reset_timeout, reset).await.ok()?.ok()?;
            }
            if validate {
                let validate = shared.manager.validate(&mut pooled.connection);
                tokio::time::timeout(validation_timeout, validate).await.ok()?.ok()?;
            }
            Some(())
        };
        let good = check.await;
        *self.record().connection() = Some(pooled);
        self.record().set_clean();
        if good.is_none() {
            self.end(Destroyed::Invalid);
            return None;
        }
        Some(self.keep())
    }
}

impl<M: Manager> Drop for Floating<M> {
    fn drop(&mut self) {
        if let Some(record) = self.0.take() {
            record.shared.destroy(&record, Destroyed::Invalid);
        }
    }
}
