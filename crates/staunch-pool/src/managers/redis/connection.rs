//! A connection, and what is known of its state.

use std::fmt;

use redis::{
    Cmd, Pipeline, RedisError, RedisFuture, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};

use super::command::Effect;
use crate::{manager::Condition, managers::driver::Switch};

/// A pooled connection to Redis, for commands, pipelines and `redis::AsyncCommands`.
///
/// There is one of it, unlike redis-rs' `MultiplexedConnection`, of which a clone would outlive the lease.
///
/// # Cancel safety
/// A command that is dropped before its answer has come is done or not; its connection ends with the
/// lease.
pub struct RedisConnection {
    connection: MultiplexedConnection,
    switch: OffOnDrop,
    state: State,
}

/// What is known of it. One command is under way at a time: each borrows the connection.
#[derive(Debug)]
struct State {
    /// A command was begun, and is not known to have been answered.
    is_running: bool,
    /// A transaction is open, or keys are watched for one.
    is_begun: bool,
    /// What the commands have made of it otherwise.
    made: Condition,
}

impl State {
    const NEW: State = State { is_running: false, is_begun: false, made: Condition::Clean };

    /// Something is sent.
    fn begin(&mut self, effects: impl IntoIterator<Item = Effect>) {
        self.is_running = true;
        for effect in effects {
            match effect {
                Effect::None | Effect::Ends => {}
                Effect::Begins => self.is_begun = true,
                Effect::Changes if self.made == Condition::Broken => {}
                Effect::Changes => self.made = Condition::Dirty,
                Effect::Derails => self.made = Condition::Broken,
            }
        }
    }

    /// The answer is there, or it is known that there will be none. `ends`: if the server has done it,
    /// no transaction is open.
    fn end<T>(&mut self, answer: &Result<T, RedisError>, ends: bool) {
        self.is_running = match answer {
            Ok(_) => false,
            Err(error) => error.code().is_none(), // not the server's: it may still answer
        };
        if ends && answer.is_ok() {
            self.is_begun = false;
        }
    }
}

impl RedisConnection {
    pub(super) fn new(connection: MultiplexedConnection, switch: OffOnDrop) -> RedisConnection {
        RedisConnection { connection, switch, state: State::NEW }
    }

    pub(super) fn switch(&self) -> Switch {
        self.switch.0.clone()
    }

    /// Without an account of what is said on it.
    pub(super) fn raw(&mut self) -> &mut MultiplexedConnection {
        &mut self.connection
    }

    /// It is as good as new.
    pub(super) fn is_reset(&mut self) {
        self.state = State::NEW;
    }

    pub(super) fn condition(&self) -> Condition {
        match &self.state {
            State { is_running: true, .. } => Condition::Broken,
            _ if self.switch.0.has_ended() => Condition::Broken,
            State { is_begun: true, made: Condition::Clean, .. } => Condition::Dirty,
            state => state.made,
        }
    }
}

impl ConnectionLike for RedisConnection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let effect = Effect::of(command);
            self.state.begin([effect]);
            let answer = self.connection.req_packed_command(command).await;
            self.state.end(&answer, effect == Effect::Ends);
            answer
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            self.state.begin(pipeline.cmd_iter().map(Effect::of));
            let answer = self.connection.req_packed_commands(pipeline, offset, count).await;
            // Of an `EXEC` among others it is not known whether it was the last.
            self.state.end(&answer, pipeline.is_transaction());
            answer
        })
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}

impl fmt::Debug for RedisConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConnection")
            .field("switch", &self.switch)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Ends the driver when it is dropped: by itself it would wait for the answer of a blocking
/// command.
#[derive(Debug)]
pub(super) struct OffOnDrop(pub(super) Switch);

impl Drop for OffOnDrop {
    fn drop(&mut self) {
        self.0.off();
    }
}
