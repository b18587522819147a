//! The task that looks, and reacts: a child of the guard's scope; or a thread that does so for it. What
//! may take its time is a child of its own, one round at a time.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering, fence},
    },
    task::{Context as Poller, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant as RealInstant},
};

use staunch_ledger::{EntryId, Kind, Obligation, Observation};
use staunch_scope::{
    Cancelled, Context, Isolate, JoinChildError, Scope, ScopeBuilder, State, Wait,
    with_current_account,
};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::{
    GuardOptions, Level, Pressure, Reaction, Reading,
    pressure::is_at,
    report::{Cause, Change},
    shared::Shared,
    shrinkers::Pressing,
    source::{Opener, Sources, fds},
    stir::Stir,
};

#[cfg(test)]
mod tests;

/// Looks, look after look.
pub(crate) struct Sampler {
    shared: Arc<Shared>,
    sources: Sources,
    pressure: Pressure,
    pressing: Pressing,
    told: Told,
    /// Looks in a row that found that nothing happens.
    calm: u32,
    /// When whatever gives something back is run again.
    repeat_at: Option<Duration>,
    is_reacting: Arc<AtomicBool>,
}

/// What was said last.
#[derive(Clone, Copy, Default)]
struct Told {
    level: Level,
    at: Option<Duration>,
    /// Changes of the level since.
    changes: u64,
}

/// That it is better is said so long after the last word.
const SILENCE: Duration = Duration::from_secs(10);
/// After so many looks in a row that found nothing to do they are rarer: whoever asks wakes nobody more often.
const CALM_LOOKS: u32 = 20;
/// One look in place of so many.
const REST_LOOKS: u32 = 10;

impl Sampler {
    pub(crate) fn new(shared: Arc<Shared>, owner: EntryId) -> Sampler {
        let opener = Opener { ledger: shared.ledger, born_at: shared.born_at, owner };
        Sampler {
            sources: Sources::open(&shared.options, &opener),
            pressure: Pressure::new(shared.options.marks),
            pressing: Pressing { level: Level::Normal, cause: Cause::Memory },
            told: Told::default(),
            calm: 0,
            repeat_at: None,
            is_reacting: Arc::default(),
            shared,
        }
    }

    /// Looks until the task is asked to stop. However it ends, also if it never runs, nothing is
    /// refused any more.
    pub(crate) fn watch(self) -> impl Future<Output = ()> + Send {
        let retires = Retires(self);
        async move {
            let reason = "watches memory and fds until its scope stops";
            with_current_account(|task| task.set_obligation(Obligation::Perpetual(reason)));
            let ended = ScopeBuilder::<Infallible>::new(&Context::current())
                .policy(Isolate)
                .run(async move |scope| {
                    if retires.0.shared.options.own_thread {
                        look_on_thread(retires, scope).await;
                    } else {
                        look_on_runtime(retires, scope).await;
                    }
                    Ok(())
                })
                .await;
            drop(ended);
        }
    }

    /// Takes one look.
    pub(crate) fn look(&mut self) {
        let sample = self.sources.sample(self.shared.now());
        let reading = sample.reading;
        self.shared.set_sample(sample);
        let level = self.pressure.observe(&reading);
        let marks = &self.shared.options.marks;
        self.shared.room.turn(requests_left(&reading, &self.shared.options));
        if level != self.pressing.level {
            // What was short has been until now, when the level falls.
            if level > self.pressing.level {
                self.pressing.cause = Cause::of(&reading, level, marks);
            }
            self.pressing.level = level;
            self.repeat_at = None;
            self.shared.set_level(level);
            if level == Level::Normal {
                self.shared.closers.relax();
            }
            self.told.changes += 1;
        }
        self.tell_if_due(&reading);
        self.calm = if self.is_calm(&reading) { self.calm.saturating_add(1) } else { 0 };
    }

    /// Whether nobody has asked since the last look, and nothing is anywhere near a mark.
    fn is_calm(&self, reading: &Reading) -> bool {
        let is_asked = self.shared.stir.take();
        let half = self.shared.options.marks.lowest() / 2;
        let is_far = |used, most: Option<u64>| !most.is_some_and(|it| is_at(used, it, half));
        !is_asked
            && self.shared.in_flight.load(Ordering::Relaxed) == 0
            && (self.pressing.level, self.told.level) == (Level::Normal, Level::Normal)
            && is_far(reading.memory_bytes, reading.memory_bytes_max)
            && is_far(reading.fds, reading.fds_max)
    }

    /// How long until the next look, if nobody asks before; `None`: the usual time, whoever asks.
    fn rest(&self) -> Option<Duration> {
        let options = &self.shared.options;
        let rest = (REST_LOOKS * options.interval).min(options.marks.growth_window / 10);
        (self.calm >= CALM_LOOKS && rest > options.interval).then_some(rest)
    }

    /// Worse is said at once; better, when nothing was said for some time: under a load that goes
    /// up and down the log would be full of it.
    fn tell_if_due(&mut self, reading: &Reading) {
        let Told { level: from, at, changes } = self.told;
        let Pressing { level: to, cause } = self.pressing;
        let is_over = at.is_none_or(|at| reading.at.saturating_sub(at) >= SILENCE);
        if to > from || (to < from && is_over) {
            let marks = &self.shared.options.marks;
            self.tell(&Change { from, to, cause, reading, marks, changes });
            self.told = Told { level: to, at: Some(reading.at), changes: 0 };
        }
    }

    fn tell(&self, change: &Change<'_>) {
        let Shared { ledger, born_at, options, .. } = &*self.shared;
        let name = options.name;
        if change.to > change.from {
            tracing::warn!(guard = name, level = %change.to, "under pressure: {change}");
        } else {
            tracing::info!(guard = name, level = %change.to, "less pressure: {change}");
        }
        ledger.observe(Observation {
            rule: "pressure",
            kind: Kind::OTHER,
            born_at,
            text: format!("{name}: {change}"),
            at: ledger.now(),
        });
    }

    /// Does what is listed for the level.
    fn react(&mut self, scope: &Scope<Infallible>) {
        self.list_fds_if_due(scope);
        let level = self.pressing.level;
        let reactions = &self.shared.options.reactions;
        if let Some(limiter) = &self.shared.limiter
            && reactions.has(level, Reaction::LowerConcurrency)
        {
            limiter.lower();
        }
        let now = self.shared.now();
        let gives = [Reaction::Purge, Reaction::Shrink, Reaction::CloseIdle];
        let gives = gives.into_iter().any(|reaction| reactions.has(level, reaction));
        let is_due = self.repeat_at.is_none_or(|at| now >= at);
        if !gives || !is_due || self.is_reacting.swap(true, Ordering::Relaxed) {
            return;
        }
        let repeat = self.shared.options.repeat;
        let pause = if level >= Level::Shed { repeat / 10 } else { repeat };
        self.repeat_at = Some(now.saturating_add(pause));
        let round = Round {
            shared: Arc::clone(&self.shared),
            pressing: self.pressing,
            _reacting: Reacting(Arc::clone(&self.is_reacting)),
        };
        drop(scope.blocking(move |_| {
            round.run();
            Ok(())
        }));
    }

    /// On kernels that do not count: see [`fds`].
    fn list_fds_if_due(&mut self, scope: &Scope<Infallible>) {
        let now = self.shared.now();
        if let Some(listing) = self.sources.fds.begin_listing(now) {
            drop(scope.blocking(move |_| {
                let begun = RealInstant::now();
                listing.ended(fds::list(), begun.elapsed());
                Ok(())
            }));
        }
    }
}

/// Looks and reacts until the task is asked to stop.
async fn look_on_runtime(mut retires: Retires, scope: Scope<Infallible>) {
    let sampler = &mut retires.0;
    let interval = sampler.shared.options.interval;
    let mut ticks = interval_at(Instant::now() + interval, interval);
    // A look that was missed, since nobody had the time, is of no use afterwards.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        sampler.react(&scope);
        let rest = sampler.rest();
        if let Some(rest) = rest {
            ticks.reset_after(rest);
        }
        if tick(&mut ticks, rest.map(|_| &sampler.shared.stir)).await.is_err() {
            return;
        }
        if rest.is_some() {
            ticks.reset();
        }
        sampler.look();
    }
}

/// As [`look_on_runtime`], on a thread where it may block.
async fn look_on_thread(mut retires: Retires, scope: Scope<Infallible>) {
    let sleeper = Arc::new(Sleeper::default());
    let (wakes, inner) = (Wakes(Arc::clone(&sleeper)), scope.clone());
    let looking = scope.blocking(move |_| {
        sleeper.thread.get_or_init(thread::current);
        fence(Ordering::SeqCst); // whoever wakes it sees the thread, or it sees that it is to end
        let sampler = &mut retires.0;
        let waker = Waker::from(Arc::clone(&sleeper));
        let cx = Poller::from_waker(&waker);
        let (interval, mut due) = (sampler.shared.options.interval, RealInstant::now());
        loop {
            sampler.react(&inner);
            let rest = sampler.rest();
            let now = RealInstant::now();
            // Without those that were missed.
            due = rest.map_or_else(|| now.max(due + interval), |rest| now + rest);
            let begun = rest.map(|_| (&sampler.shared.stir, &cx));
            if sleeper.sleeps_until(due, begun).is_err() {
                return Ok(());
            }
            due = due.min(RealInstant::now());
            sampler.look();
        }
    });
    let ended = looking.join().await; // which hears of the ask, too
    drop(wakes);
    scope.stop();
    if ended == Err(JoinChildError::Failed) {
        tracing::error!("the guard is broken: nobody watches memory and fds any more; report this");
    }
}

/// The thread that looks, between two looks.
#[derive(Default)]
struct Sleeper {
    thread: OnceLock<Thread>,
    is_to_end: AtomicBool,
}

/// It is not to look any more.
struct Ends;

impl Sleeper {
    /// Or until something begins.
    fn sleeps_until(
        &self,
        due: RealInstant,
        begun: Option<(&Stir, &Poller<'_>)>,
    ) -> Result<(), Ends> {
        loop {
            if self.is_to_end.load(Ordering::SeqCst) {
                return Err(Ends);
            }
            let left = due.saturating_duration_since(RealInstant::now());
            let has_begun = begun.is_some_and(|(stir, cx)| stir.poll_begun(cx).is_ready());
            if left.is_zero() || has_begun {
                return Ok(());
            }
            thread::park_timeout(left);
        }
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Sleeper>) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// Has the thread end when it is dropped, however that comes.
struct Wakes(Arc<Sleeper>);

impl Drop for Wakes {
    fn drop(&mut self) {
        self.0.is_to_end.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        Arc::clone(&self.0).wake();
    }
}

/// The next tick, or that something begins.
async fn tick(ticks: &mut Interval, begun: Option<&Stir>) -> Result<(), Cancelled> {
    let mut wait = Wait::new();
    let mut poll = |cx: &mut Poller<'_>| match begun {
        Some(stir) if stir.poll_begun(cx).is_ready() => Poll::Ready(()),
        _ => ticks.poll_tick(cx).map(drop),
    };
    poll_fn(|cx| wait.poll(cx, State::Sleep, &mut poll)).await
}

/// How many requests find room below the marks of [`Level::Refuse`]; without a limit, or if they take
/// nothing, as many as you like.
fn requests_left(reading: &Reading, options: &GuardOptions) -> u64 {
    let percent = options.marks.refuse_percent;
    let left = |used: u64, most: Option<u64>, each: u64| {
        let mark = (u128::from(most?) * u128::from(percent) / 100) as u64;
        mark.saturating_sub(used).checked_div(each)
    };
    let memory = left(reading.memory_bytes, reading.memory_bytes_max, options.request_bytes);
    let fds = left(reading.fds, reading.fds_max, options.request_fds);
    memory.unwrap_or(u64::MAX).min(fds.unwrap_or(u64::MAX))
}

/// Ends the guard however its sampler ends.
struct Retires(Sampler);

impl Drop for Retires {
    fn drop(&mut self) {
        self.0.shared.retire();
    }
}

/// Everybody gives back what they can, once.
struct Round {
    shared: Arc<Shared>,
    pressing: Pressing,
    _reacting: Reacting,
}

impl Round {
    fn run(&self) {
        let options = &self.shared.options;
        let does = |reaction| options.reactions.has(self.pressing.level, reaction);
        if does(Reaction::CloseIdle) {
            self.shared.close_idle(self.pressing.level);
        }
        if does(Reaction::Shrink) {
            for shrinker in self.shared.shrinkers.for_level(self.pressing.level) {
                shrinker.run(self.pressing);
            }
        }
        // Last: what the others freed is given back as well.
        if does(Reaction::Purge)
            && let Some(allocator) = &options.allocator
        {
            allocator.purge();
        }
    }
}

/// A round is under way as long as this lives.
struct Reacting(Arc<AtomicBool>);

impl Drop for Reacting {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
