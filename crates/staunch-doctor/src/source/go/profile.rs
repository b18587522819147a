//! Profiles in pprof's protobuf, gzip or not: `/debug/pprof/heap`, `/debug/pprof/goroutine`,
//! `/debug/pprof/goroutineleak`.
//!
//! The file is decoded whole, within a limit of bytes that also holds for what gzip makes of it. Every
//! index in it is from outside: one that leads nowhere is an error, and none is followed unchecked.
//!
//! A profile of goroutines has neither ids nor births nor states. What a goroutine waits for is read
//! off the runtime's frames, which are in these profiles and are then left out.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use prost::Message as _;
use staunch_diagnosis::{Frame, Heap, HeapSite, Snapshot, State, TaskGroup, Tasks};
use staunch_pprof::{Function, Location, Profile, Sample};

use super::waiting;

/// The most bytes of a profile, unpacked, by default: some million samples.
pub const PROFILE_BYTES_MAX: u64 = 256 << 20;

/// Why a profile could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// Reading or unpacking failed.
    #[error("cannot read the profile, or it is cut off")]
    Read(#[source] io::Error),
    /// It is larger than the limit.
    #[error(
        "the profile has more than {limit} bytes, unpacked, which is the most that is read of one"
    )]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// It is no protobuf of this kind.
    #[error("no pprof profile: expected what /debug/pprof/heap or /debug/pprof/goroutine sends")]
    Malformed(#[source] prost::DecodeError),
    /// It refers to something that is not in it.
    #[error("the profile refers to {what} {id}, which it does not have")]
    Dangling {
        /// What is missing.
        what: &'static str,
        /// Its number.
        id: i128,
    },
    /// It is a profile of something else.
    #[error("the profile is of `{found}`, not of `{wanted}`")]
    OtherKind {
        /// The types of its values.
        found: String,
        /// What was asked for.
        wanted: &'static str,
    },
}

/// Reads a heap profile of at most `limit` bytes. Go has scaled its values up from what was sampled.
/// Blocks as long as `reader` does.
///
/// # Errors
///
/// [`ProfileError`]: it cannot be read, is too large, no profile, or none of a heap.
pub fn read_heap_profile(reader: impl Read, limit: u64) -> Result<Heap, ProfileError> {
    heap(&decode(reader, limit)?)
}

fn heap(profile: &Profile) -> Result<Heap, ProfileError> {
    let values = Values::of(profile)?;
    let index = |name: &'static str| values.index(name, "inuse_space");
    let (live_bytes, live_objects) = (index("inuse_space")?, index("inuse_objects")?);
    let (allocated_bytes, allocated_objects) = (index("alloc_space")?, index("alloc_objects")?);
    let symbols = Symbols::of(profile);
    let sites = profile.sample.iter().map(|sample| {
        Ok(HeapSite {
            frames: symbols.frames(sample)?.into(),
            live_bytes: value(sample, live_bytes),
            live_objects: value(sample, live_objects),
            allocated_bytes: value(sample, allocated_bytes),
            allocated_objects: value(sample, allocated_objects),
        })
    });
    let sites = sites.collect::<Result<_, _>>()?;
    let sampled_every = u64::try_from(profile.period).ok().filter(|period| *period > 1);
    Ok(Heap { sites, sampled_every, ..Heap::default() })
}

/// Reads a profile of goroutines, or of leaked ones (`goroutineleak`), of at most `limit` bytes. It
/// knows less than a dump: no ids, no births, no times. Blocks as long as `reader` does.
///
/// # Errors
///
/// [`ProfileError`]: it cannot be read, is too large, no profile, or none of goroutines.
pub fn read_goroutine_profile(reader: impl Read, limit: u64) -> Result<Tasks, ProfileError> {
    goroutines(&decode(reader, limit)?)
}

fn goroutines(profile: &Profile) -> Result<Tasks, ProfileError> {
    let values = Values::of(profile)?;
    let leaked = values.index("goroutineleak", "goroutine");
    let is_leaked = leaked.is_ok();
    let index = leaked.or_else(|_| values.index("goroutine", "goroutine"))?;
    let symbols = Symbols::of(profile);
    let groups = profile.sample.iter().map(|sample| {
        let labels = symbols.labels(sample)?;
        Ok(group(symbols.frames(sample)?, labels, value(sample, index), is_leaked))
    });
    let groups = groups.collect::<Result<_, _>>()?;
    Ok(Tasks { groups, ..Tasks::default() })
}

/// Reads a profile of a heap or of goroutines: which of them, it says itself. With the time at which it was
/// taken, in nanoseconds of the epoch.
pub(in crate::source) fn read_profile(
    reader: impl Read,
    limit: u64,
) -> Result<(Snapshot, Option<u64>), ProfileError> {
    let profile = decode(reader, limit)?;
    let taken = u64::try_from(profile.time_nanos).ok().filter(|time| *time > 0);
    let snapshot = match heap(&profile) {
        Ok(heap) => Snapshot { heap: Some(heap), ..Snapshot::default() },
        Err(ProfileError::OtherKind { .. }) => {
            Snapshot { tasks: Some(goroutines(&profile)?), ..Snapshot::default() }
        }
        Err(error) => return Err(error),
    };
    Ok((snapshot, taken))
}

/// Whether what begins so, unpacked, is a profile: its first field is the type of a value, or of the period
/// (with which Go begins), and their numbers are no text.
pub(in crate::source) fn is_profile(beginning: &[u8]) -> bool {
    const FIRST: usize = 16;
    let is_no_text = |byte: &u8| *byte < b'\t';
    (beginning.starts_with(&[0x0a]) || beginning.starts_with(&[0x5a]))
        && beginning.iter().take(FIRST).any(is_no_text)
}

fn decode(reader: impl Read, limit: u64) -> Result<Profile, ProfileError> {
    let mut bytes = read(reader, limit)?;
    if bytes.starts_with(&GZIP) {
        bytes = read(MultiGzDecoder::new(bytes.as_slice()), limit)?;
    }
    Profile::decode(bytes.as_slice()).map_err(ProfileError::Malformed)
}

/// The first bytes of a gzip file (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

fn read(reader: impl Read, limit: u64) -> Result<Vec<u8>, ProfileError> {
    let mut bytes = Vec::new();
    reader.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(ProfileError::Read)?;
    if bytes.len() as u64 > limit {
        return Err(ProfileError::TooLarge { limit });
    }
    Ok(bytes)
}

/// A value of a sample; what is missing or below zero counts for nothing.
fn value(sample: &Sample, index: usize) -> u64 {
    sample.value.get(index).and_then(|value| u64::try_from(*value).ok()).unwrap_or(0)
}

/// The names of the values that each sample has.
struct Values<'a>(Vec<&'a str>);

impl<'a> Values<'a> {
    fn of(profile: &'a Profile) -> Result<Values<'a>, ProfileError> {
        profile
            .sample_type
            .iter()
            .map(|it| text(profile, it.r#type))
            .collect::<Result<_, _>>()
            .map(Values)
    }

    fn index(&self, name: &str, wanted: &'static str) -> Result<usize, ProfileError> {
        let index = self.0.iter().position(|it| *it == name);
        index.ok_or_else(|| ProfileError::OtherKind { found: self.0.join(", "), wanted })
    }
}

fn text(profile: &Profile, index: i64) -> Result<&str, ProfileError> {
    let text = usize::try_from(index).ok().and_then(|index| profile.string_table.get(index));
    text.map(String::as_str).ok_or(ProfileError::Dangling { what: "text", id: index.into() })
}

/// What addresses mean.
struct Symbols<'a> {
    profile: &'a Profile,
    locations: HashMap<u64, &'a Location>,
    functions: HashMap<u64, &'a Function>,
}

impl<'a> Symbols<'a> {
    fn of(profile: &'a Profile) -> Symbols<'a> {
        Symbols {
            profile,
            locations: profile.location.iter().map(|it| (it.id, it)).collect(),
            functions: profile.function.iter().map(|it| (it.id, it)).collect(),
        }
    }

    fn frames(&self, sample: &Sample) -> Result<Vec<Frame>, ProfileError> {
        let mut frames = Vec::with_capacity(sample.location_id.len());
        for &id in &sample.location_id {
            let location = self.locations.get(&id).ok_or_else(|| dangling("location", id))?;
            if location.line.is_empty() {
                frames.push(unknown(location.address));
            }
            for line in &location.line {
                frames.push(self.frame(line.function_id, line.line)?);
            }
        }
        Ok(frames)
    }

    fn frame(&self, function: u64, line: i64) -> Result<Frame, ProfileError> {
        let function =
            self.functions.get(&function).ok_or_else(|| dangling("function", function))?;
        Ok(Frame {
            function: text(self.profile, function.name)?.into(),
            file: text(self.profile, function.filename)?.into(),
            line: u32::try_from(line).unwrap_or(0),
        })
    }

    fn labels(&self, sample: &Sample) -> Result<Vec<(String, String)>, ProfileError> {
        let texts = sample.label.iter().filter(|label| label.str != 0);
        let labels = texts.map(|label| {
            let (key, value) = (text(self.profile, label.key)?, text(self.profile, label.str)?);
            Ok((key.to_owned(), value.to_owned()))
        });
        let mut labels: Vec<_> = labels.collect::<Result<_, _>>()?;
        labels.sort();
        Ok(labels)
    }
}

fn dangling(what: &'static str, id: u64) -> ProfileError {
    ProfileError::Dangling { what, id: id.into() }
}

/// A frame of a binary without symbols.
fn unknown(address: u64) -> Frame {
    Frame { function: format!("{address:#x}").into(), file: "".into(), line: 0 }
}

fn group(frames: Vec<Frame>, labels: Vec<(String, String)>, count: u64, leaked: bool) -> TaskGroup {
    let status = status(&frames);
    let mut frames = frames;
    let own = frames.iter().position(|frame| !is_parking(&frame.function));
    frames.drain(..own.unwrap_or(0));
    frames.truncate(frames.iter().position(|it| is_below(&it.function)).unwrap_or(frames.len()));
    let frames: Arc<[Frame]> = frames.into();
    let waiting = waiting::waiting(status, &frames);
    let text = if leaked { format!("{status} (leaked)").into() } else { status.into() };
    let state = State { waiting, text };
    TaskGroup { state, frames, birth: None, labels, count, members: Vec::new() }
}

/// What Go would call the state of a goroutine with these frames.
fn status(frames: &[Frame]) -> &'static str {
    let parked = frames.first().is_some_and(|frame| &*frame.function == "runtime.gopark");
    let otherwise = if parked { "waiting" } else { "runnable" };
    status_of_visible_calls(frames).unwrap_or(otherwise)
}

/// What its innermost calls tell of the state of a goroutine.
pub(super) fn status_of_visible_calls(frames: &[Frame]) -> Option<&'static str> {
    frames.iter().take(PARKING_FRAMES_MAX).find_map(|frame| match &*frame.function {
        "runtime.chansend" | "runtime.chansend1" => Some("chan send"),
        "runtime.chanrecv" | "runtime.chanrecv1" | "runtime.chanrecv2" => Some("chan receive"),
        "runtime.selectgo" => Some("select"),
        "runtime.block" => Some("select (no cases)"),
        "sync.runtime_notifyListWait" => Some("sync.Cond.Wait"),
        "internal/poll.runtime_pollWait" => Some("IO wait"),
        "time.Sleep" => Some("sleep"),
        "os/signal.signal_recv" => Some("syscall"),
        "runtime.semacquire1" => Some("semacquire"),
        function if function.contains("runtime_Semacquire") => Some("semacquire"),
        _ => None,
    })
}

/// How far in the calls that make a goroutine wait may be.
const PARKING_FRAMES_MAX: usize = 5;

/// Whether a call is how the runtime waits, which a dump does not show.
fn is_parking(function: &str) -> bool {
    function.starts_with("runtime.")
}

/// Whether a call is below the first function of a goroutine.
fn is_below(function: &str) -> bool {
    matches!(function, "runtime.goexit" | "runtime.main")
}

#[cfg(test)]
mod tests;
