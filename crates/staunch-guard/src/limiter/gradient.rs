//! How many requests may be in flight, from how fast they are answered. Pure: no clock, no lock.
//!
//! A gradient limiter, as in Netflix's concurrency-limits (`Gradient2Limit`,
//! <https://github.com/Netflix/concurrency-limits>) and Envoy's adaptive concurrency filter
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/adaptive_concurrency_filter>).
//! Answers that take longer than they do without a queue are in a queue, and the limit is lowered
//! by as much; with what is added for a queue of the square root of the limit, it finds the number
//! from which more in flight means only slower answers.
//!
//! What an answer takes without a queue is measured as Envoy does it: now and then so few are let
//! in that there can be no queue. Netflix's long-term average would take a lasting overload for the
//! rule.

use std::time::Duration;

#[cfg(test)]
mod tests;

/// Bounds and pace of a [`Gradient`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GradientOptions {
    /// The limit to begin with. Default 20, as Netflix has it: it doubles within a second if there
    /// is room.
    pub initial: usize,
    /// Never fewer. Default 3, as Envoy has it: one that is stuck does not stop the others.
    pub min: usize,
    /// Never more. Default 1 000, as Envoy has it. What it times the memory of a request must fit
    /// below your memory limit.
    pub max: usize,
    /// Answers may take so much of the least, in percent, before the limit is lowered. Default 150,
    /// as Netflix has it: answers differ anyway.
    pub tolerance_percent: u32,
    /// Answers are judged in windows of at least this time. Default 100 ms, as Envoy has it.
    pub window: Duration,
    /// And of at least so many answers. Default 10, as Netflix has it.
    pub window_answers: u32,
    /// The limit is `min` for one window so often, to measure what an answer takes without a queue;
    /// only if the limit is in use, and there was no quiet moment before. Default 30 s: less than
    /// half a percent of the time.
    pub probe_interval: Duration,
}

impl Default for GradientOptions {
    fn default() -> GradientOptions {
        GradientOptions {
            initial: 20,
            min: 3,
            max: 1000,
            tolerance_percent: 150,
            window: Duration::from_millis(100),
            window_answers: 10,
            probe_interval: Duration::from_secs(30),
        }
    }
}

/// Bounds that make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GradientError {
    /// Nothing could ever be in flight.
    #[error("min is 0: once there, nothing would be admitted, and nothing learned; set at least 1")]
    NoMinimum,
    /// No limit fits.
    #[error("min {min}, initial {initial} and max {max} are not in ascending order")]
    Order {
        /// `min`
        min: usize,
        /// `initial`
        initial: usize,
        /// `max`
        max: usize,
    },
}

impl GradientOptions {
    pub(crate) fn check(&self) -> Result<(), GradientError> {
        let GradientOptions { min, initial, max, .. } = *self;
        if min == 0 {
            return Err(GradientError::NoMinimum);
        }
        if min > initial || initial > max {
            return Err(GradientError::Order { min, initial, max });
        }
        Ok(())
    }
}

/// A limit of requests in flight that follows how fast they are answered.
#[derive(Debug)]
pub struct Gradient {
    options: GradientOptions,
    limit: f64,
    /// What an answer takes without a queue, in seconds.
    least: Option<f64>,
    window: Window,
    probe: Probe,
}

#[derive(Debug, Default)]
struct Window {
    begun: Duration,
    answers: u32,
    seconds: f64,
    /// The most that were in flight.
    busiest: usize,
}

/// When it is measured what an answer takes without a queue.
#[derive(Debug)]
enum Probe {
    Due(Duration),
    /// Given up then, if there are too few answers.
    Running(Duration),
}

/// One that finds no answers ends after so many windows.
const PROBE_WINDOWS: u32 = 20;
/// How much of a window's verdict is taken over: the rest is what was known before.
const NEW_PART: f64 = 0.2;
/// A limit is lowered to no less than this part of it by one verdict.
const LEAST_GRADIENT: f64 = 0.5;
/// An average that is so near to the least says that the least still holds.
const SAME: f64 = 1.1;
/// What [`Gradient::lower`] leaves.
const LOWERED_PART: f64 = 0.95;

impl Gradient {
    /// A limiter that has learned nothing. Bounds out of order are harmless: the greater one
    /// counts.
    pub fn new(options: GradientOptions) -> Gradient {
        Gradient {
            options,
            limit: options.initial as f64,
            least: None,
            window: Window::default(),
            probe: Probe::Due(Duration::ZERO), // the first load is perhaps an overload
        }
    }

    /// How many may be in flight.
    pub fn limit(&self) -> usize {
        match self.probe {
            Probe::Running(_) => self.options.min,
            // At least `min`, so never negative.
            Probe::Due(_) => (self.limit as i64).cast_unsigned() as usize,
        }
    }

    /// An answer was made at `now`, on a clock that does not go back, and took so long; so many
    /// were in flight when it was begun, itself included.
    pub fn observe(&mut self, now: Duration, took: Duration, in_flight: usize) {
        let is_quiet = in_flight <= self.options.min;
        if matches!(self.probe, Probe::Running(_)) && !is_quiet {
            self.end_probe_in_vain(now); // it was begun before the probe
            return;
        }
        self.window.answers += 1;
        self.window.seconds += took.as_secs_f64();
        self.window.busiest = self.window.busiest.max(in_flight);
        let lasted = now.saturating_sub(self.window.begun);
        if lasted >= self.options.window && self.window.answers >= self.options.window_answers {
            self.judge(now);
            self.window = Window { begun: now, ..Window::default() };
        }
        self.end_probe_in_vain(now);
    }

    /// Lowers the limit by a twentieth, whatever the answers say: memory is short.
    pub fn lower(&mut self) {
        self.set_limit(self.limit * LOWERED_PART);
    }

    fn judge(&mut self, now: Duration) {
        let average = self.window.seconds / f64::from(self.window.answers);
        if self.window.busiest <= self.options.min {
            self.least = Some(average); // no queue
            self.rest(now);
        }
        let least = self.least.map_or(average, |least| least.min(average));
        self.least = Some(least);
        if (self.window.busiest as f64) < self.limit / 2.0 {
            if average <= least * SAME {
                self.rest(now);
            }
            return; // it was not the limit that kept them
        }
        let tolerated = least * f64::from(self.options.tolerance_percent) / 100.0;
        let gradient = if average > 0.0 { tolerated / average } else { 1.0 };
        let wanted = self.limit * gradient.clamp(LEAST_GRADIENT, 1.0) + self.limit.sqrt();
        self.set_limit(self.limit * (1.0 - NEW_PART) + wanted * NEW_PART);
        if matches!(self.probe, Probe::Due(due) if now >= due) {
            let patience = self.options.window.saturating_mul(PROBE_WINDOWS);
            self.probe = Probe::Running(now.saturating_add(patience));
        }
    }

    fn set_limit(&mut self, limit: f64) {
        let GradientOptions { min, max, .. } = self.options;
        self.limit = limit.min(max as f64).max(min as f64);
    }

    /// A probe may keep out everybody who could be answered: it must end without an answer, too.
    pub(crate) fn end_probe_in_vain(&mut self, now: Duration) {
        if matches!(self.probe, Probe::Running(end) if now >= end) {
            self.rest(now);
        }
    }

    /// What an answer takes is known: no probe for some time.
    fn rest(&mut self, now: Duration) {
        self.probe = Probe::Due(now.saturating_add(self.options.probe_interval));
    }
}
