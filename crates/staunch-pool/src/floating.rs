//! A connection on its way: neither idle nor leased.

use std::sync::Arc;

use staunch_scope::{Cancelled, Context};

use crate::{
    connecting::Place,
    manager::{Condition, Manager},
    options::PoolOptions,
    record::Record,
    shared::Shared,
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

    /// It is to end, and another is to be made in its place.
    pub(crate) fn replace(mut self, shared: &Shared<M>, why: Destroyed) -> Place<'_, M> {
        if let Some(record) = self.0.take() {
            shared.close_connection(&record, why);
        }
        Place::new(shared)
    }

    /// Resets it if it is dirty, validates it if that is wanted; `None` when it failed.
    ///
    /// # Errors
    /// When the task is asked to stop meanwhile: then it ends.
    pub(crate) async fn checked(
        self,
        condition: Condition,
        validate: bool,
    ) -> Result<Option<Arc<Record<M>>>, Cancelled> {
        Ok(self.check(condition, validate).await?.map_or_else(
            |bad| {
                bad.end(Destroyed::Invalid);
                None
            },
            |good| Some(good.keep()),
        ))
    }

    /// Resets it if it is dirty, validates it if that is wanted; `Err` when it failed.
    ///
    /// # Errors
    /// When the task is asked to stop meanwhile: then it ends.
    pub(crate) async fn check(
        self,
        condition: Condition,
        validate: bool,
    ) -> Result<Result<Floating<M>, Floating<M>>, Cancelled> {
        let record = self.record();
        let shared = Arc::clone(&record.shared);
        let Some(mut pooled) = record.connection().take() else { return Ok(Err(self)) };
        let PoolOptions { reset_timeout, validation_timeout, .. } = shared.options;
        let checking = async {
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
        let good = Context::current().run(checking).await?;
        *self.record().connection() = Some(pooled);
        self.record().set_clean();
        Ok(if good.is_some() { Ok(self) } else { Err(self) })
    }
}

impl<M: Manager> Drop for Floating<M> {
    fn drop(&mut self) {
        if let Some(record) = self.0.take() {
            record.shared.destroy(&record, Destroyed::Invalid);
        }
    }
}
