//! What the handles of a guard, its sampler and those it admitted have in common.

use std::{
    panic::Location,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use staunch_ledger::Ledger;
use staunch_scope::watch;
use tokio::time::Instant;

use crate::{
    GuardOptions, Level, Priority, Reaction, Why, closing::Closers, limiter::Limiter, room::Room,
    sampler::Pace, shrinkers::Shrinkers, source::Sample, status::GuardStatus, stir::Stir,
};

pub(crate) struct Shared {
    pub(crate) options: GuardOptions,
    pub(crate) ledger: Ledger,
    pub(crate) born_at: &'static Location<'static>,
    level: AtomicU8,
    /// By level: the greatest priority that is refused, and whether streams are.
    pub(crate) sheds: [Option<Priority>; 4],
    pub(crate) refuses_streams: [bool; 4],
    pub(crate) refuses_connections: [bool; 4],
    pub(crate) in_flight: AtomicUsize,
    /// Of them, those that are not answered: what the limit of concurrency is compared with.
    pub(crate) working: AtomicUsize,
    pub(crate) room: Room,
    pub(crate) stir: Stir,
    pub(crate) limiter: Option<Limiter>,
    /// The limiter's clock begins here.
    pub(crate) epoch: Instant,
    /// Gone with the sampler: nobody else sends.
    levels: Mutex<Option<watch::Sender<Level>>>,
    pub(crate) shrinkers: Shrinkers,
    pub(crate) closers: Closers,
    sample: Mutex<(Sample, Pace)>,
    /// How often each level began.
    pub(crate) began: [AtomicU64; 4],
    /// By priority and reason.
    pub(crate) refused: [[AtomicU64; Why::COUNT]; 4],
}

impl Shared {
    #[track_caller]
    pub(crate) fn new(options: GuardOptions, born_at: &'static Location<'static>) -> Shared {
        let (levels, _) = watch::channel(Level::Normal);
        let reactions = &options.reactions;
        Shared {
            ledger: Ledger::current(),
            born_at,
            level: AtomicU8::new(Level::Normal as u8),
            sheds: Level::ALL.map(|level| reactions.shed(level)),
            refuses_streams: Level::ALL.map(|level| reactions.has(level, Reaction::RefuseStreams)),
            refuses_connections: Level::ALL
                .map(|level| reactions.has(level, Reaction::RefuseConnections)),
            in_flight: AtomicUsize::new(0),
            working: AtomicUsize::new(0),
            room: Room::new(),
            stir: Stir::new(),
            limiter: options.concurrency.map(Limiter::new),
            epoch: Instant::now(),
            levels: Mutex::new(Some(levels)),
            shrinkers: Shrinkers::default(),
            closers: Closers::default(),
            sample: Mutex::default(),
            began: Default::default(),
            refused: Default::default(),
            options,
        }
    }

    pub(crate) fn level(&self) -> Level {
        Level::from_number(self.level.load(Ordering::Relaxed))
    }

    pub(crate) fn set_level(&self, level: Level) {
        self.level.store(level as u8, Ordering::Relaxed);
        self.began[level as usize].fetch_add(1, Ordering::Relaxed);
        if let Some(levels) = &*self.levels() {
            levels.modify(|it| *it = level);
        }
    }

    /// A receiver; of one that is over, if the sampler is.
    #[track_caller]
    pub(crate) fn watch(&self) -> watch::Receiver<Level> {
        match &*self.levels() {
            Some(levels) => levels.subscribe(),
            None => watch::channel(Level::Normal).1,
        }
    }

    /// The time on the limiter's clock.
    pub(crate) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// What the last look has seen, and when the next is taken.
    pub(crate) fn sample(&self) -> (Sample, Pace) {
        *self.sample.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_sample(&self, sample: Sample) {
        self.sample.lock().unwrap_or_else(PoisonError::into_inner).0 = sample;
    }

    pub(crate) fn set_pace(&self, pace: Pace) {
        self.sample.lock().unwrap_or_else(PoisonError::into_inner).1 = pace;
    }

    /// The sampler has ended: nothing is known any more, and nothing is refused.
    pub(crate) fn retire(&self) {
        self.level.store(Level::Normal as u8, Ordering::Relaxed);
        self.room.turn(u64::MAX);
        self.stir.forget();
        self.room.presses().forget();
        self.set_pace(Pace::default());
        let levels = self.levels().take();
        if let Some(levels) = levels {
            levels.modify(|it| *it = Level::Normal);
        }
    }

    fn levels(&self) -> MutexGuard<'_, Option<watch::Sender<Level>>> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn status(&self) -> GuardStatus {
        let (sample, pace) = self.sample();
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let refused = Priority::ALL
            .into_iter()
            .flat_map(|priority| Why::all().map(move |why| (priority, why)));
        GuardStatus {
            name: self.options.name,
            born_at: self.born_at,
            level: self.level(),
            looks_every: pace.after,
            rests: pace.is_rest,
            memory_bytes: sample.reading.memory_bytes,
            memory_limit_bytes: sample.reading.memory_bytes_max,
            rss_bytes: sample.rss_bytes,
            allocated_bytes: sample.allocated_bytes,
            growth_bytes_per_second: sample.growth_bytes_per_second,
            objects_per_second: sample.objects_per_second,
            fds: sample.reading.fds,
            fds_limit: sample.reading.fds_max,
            in_flight: self.in_flight.load(Ordering::Relaxed),
            concurrency_limit: self.limiter.as_ref().map(Limiter::limit),
            level_began: Level::ALL.map(|level| (level, count(&self.began[level as usize]))),
            refused: refused
                .map(|(priority, why)| {
                    (priority, why, count(&self.refused[priority as usize][why as usize]))
                })
                .collect(),
            shrinkers: self.shrinkers.names(),
            idle_closed: count(&self.closers.closed),
        }
    }
}
