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
    /// From when on looks are rarer, if all find until then that no mark is anywhere near.
    far_from: Option<Duration>,
    /// And that nobody asks.
    calm_from: Option<Duration>,
    pace: Pace,
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
/// After so many intervals in which there was nothing to do looks are rarer: whoever asks wakes nobody more often.
const CALM_INTERVALS: u32 = 20;
/// One look in place of so many while no mark can be reached meanwhile.
const FAR_LOOKS: u32 = 5;
/// And while nobody asks.
const REST_LOOKS: u32 = 10;
/// What may come to be in use within a second: bytes, and fds.
const FASTEST: [u64; 2] = [1_000_000_000, 20_000];

/// When the next look is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    pub(crate) after: Duration,
    /// Or when somebody asks; else, if it is later than usual, when room runs short.
    pub(crate) is_rest: bool,
}

impl Sampler {
    pub(crate) fn new(shared: Arc<Shared>, owner: EntryId) -> Sampler {
        let opener = Opener { ledger: shared.ledger, born_at: shared.born_at, owner };
        Sampler {
            sources: Sources::open(&shared.options, &opener),
            pressure: Pressure::new(shared.options.marks),
            pressing: Pressing { level: Level::Normal, cause: Cause::Memory },
            told: Told::default(),
            far_from: None,
            calm_from: None,
            pace: Pace { after: shared.options.interval, is_rest: false },
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
        if let Some(limiter) = &self.shared.limiter {
            limiter.looks(reading.at);
        }
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
        let is_asked = self.shared.stir.take() || self.shared.in_flight.load(Ordering::Relaxed) > 0;
        let is_pressed = self.shared.room.presses().take();
        let is_low = self.is_low(&reading);
        let is_far = is_low && !is_pressed && self.is_far(&reading);
        let soon =
            reading.at.saturating_add(self.shared.options.interval.saturating_mul(CALM_INTERVALS));
        self.far_from = is_far.then(|| self.far_from.unwrap_or(soon));
        self.calm_from = (is_low && !is_asked).then(|| self.calm_from.unwrap_or(soon));
        self.pace = self.pace(reading.at);
        self.shared.set_pace(self.pace);
    }

    /// Whether little is in use: nothing is anywhere near a mark.
    fn is_low(&self, reading: &Reading) -> bool {
        let half = self.shared.options.marks.lowest() / 2;
        let is_low = |used, most: Option<u64>| !most.is_some_and(|it| is_at(used, it, half));
        (self.pressing.level, self.told.level) == (Level::Normal, Level::Normal)
            && is_low(reading.memory_bytes, reading.memory_bytes_max)
            && is_low(reading.fds, reading.fds_max)
    }

    /// Whether no mark can be reached before a look that is late.
    fn is_far(&self, reading: &Reading) -> bool {
        let GuardOptions { interval, marks, .. } = &self.shared.options;
        let late = interval.saturating_mul(FAR_LOOKS).as_millis();
        let is_far = |used: u64, most: Option<u64>, fastest: u64| {
            let mark = most.map(|it| u128::from(it) * u128::from(marks.lowest()) / 100);
            let most_by_then = u128::from(used) + late.saturating_mul(u128::from(fastest)) / 1000;
            mark.is_none_or(|mark| most_by_then < mark)
        };
        let [bytes, fds] = FASTEST;
        is_far(reading.memory_bytes, reading.memory_bytes_max, bytes)
            && is_far(reading.fds, reading.fds_max, fds)
    }

    /// What makes the next look come before its time.
    fn begins(&self) -> Option<&Stir> {
        let Pace { after, is_rest } = self.pace;
        let pressed =
            || Some(self.shared.room.presses()).filter(|_| after > self.shared.options.interval);
        if is_rest { Some(&self.shared.stir) } else { pressed() }
    }

    /// When the next look is taken, after one at `at`.
    fn pace(&self, at: Duration) -> Pace {
        let GuardOptions { interval, marks, .. } = &self.shared.options;
        let has_come = |from: Option<Duration>| from.is_some_and(|from| at >= from);
        let is_rest = has_come(self.calm_from);
        let looks = match has_come(self.far_from) {
            _ if is_rest => REST_LOOKS,
            true => FAR_LOOKS,
            false => 1,
        };
        // Growth is to be seen in time, too.
        let after = interval.saturating_mul(looks).min(marks.growth_window / 10).max(*interval);
        Pace { after, is_rest: is_rest && after > *interval }
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
        let after = sampler.pace.after;
        if after > interval {
            ticks.reset_after(after);
        }
        if tick(&mut ticks, sampler.begins()).await.is_err() {
            return;
        }
        if after > interval {
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
            let after = sampler.pace.after;
            let now = RealInstant::now();
            // Without those that were missed.
            due = if after > interval { now + after } else { now.max(due + interval) };
            let begun = sampler.begins().map(|stir| (stir, &cx));
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
