//! Puts a profile together: each text, function and location is written once and then known by
//! its number.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prost::Message;
use staunch_pprof::{Function, Label, Line, Location, Mapping, Profile, Sample, ValueType};

use crate::{
    refusal::Refusal,
    reply::{self, Reply},
};

/// What is measured, and in which unit: `("cpu", "nanoseconds")`.
pub(super) type Measure = (&'static str, &'static str);

/// A place in a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Frame {
    /// The function and those inlined into it, the innermost first.
    pub(super) calls: Vec<Call>,
    pub(super) address: u64,
}

/// A line of a function.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Call {
    pub(super) function: String,
    pub(super) file: String,
    pub(super) line: u32,
}

/// A profile in the making.
pub(super) struct Builder {
    profile: Profile,
    texts: HashMap<String, i64>,
    functions: HashMap<(i64, i64), u64>,
    locations: HashMap<Frame, u64>,
}

impl Builder {
    /// A profile whose samples have one value for each of `measures`; the one at `shown` is
    /// what tools show unless told otherwise. Samples are `period` apart.
    pub(super) fn new(measures: &[Measure], shown: usize, period: (Measure, i64)) -> Builder {
        let mut builder = Builder {
            profile: Profile::default(),
            texts: HashMap::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
        };
        builder.text(""); // comes first in the table
        let types: Vec<ValueType> = measures.iter().map(|m| builder.value_type(*m)).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        builder.profile.default_sample_type = types.get(shown).map_or(0, |shown| shown.r#type);
        builder.profile.period_type = Some(builder.value_type(period.0));
        builder.profile.period = period.1;
        builder.profile.sample_type = types;
        builder.profile.time_nanos = nanos(now);
        builder.map_program();
        builder
    }

    /// Functions that tools leave out of stacks with all that they call, as a regular
    /// expression.
    #[cfg(feature = "jemalloc")]
    pub(super) fn drop_frames(&mut self, functions: &str) {
        self.profile.drop_frames = self.text(functions);
    }

    /// How long it was measured for.
    pub(super) fn lasted(&mut self, duration: Duration) {
        self.profile.duration_nanos = nanos(duration);
    }

    /// Adds a stack, the innermost frame first, with a value for each measure.
    pub(super) fn sample(
        &mut self,
        stack: impl IntoIterator<Item = Frame>,
        values: Vec<i64>,
        labels: &[(&str, &str)],
    ) {
        let location_id = stack.into_iter().map(|frame| self.location(frame)).collect();
        let label = labels
            .iter()
            .map(|(key, value)| Label { key: self.text(key), str: self.text(value) })
            .collect();
        self.profile.sample.push(Sample { location_id, value: values, label });
    }

    /// The finished profile as an answer.
    pub(super) fn reply(self, name: &'static str) -> Result<Reply, Refusal> {
        let compressed = reply::gzip(&self.finish().encode_to_vec()).map_err(Refusal::failed)?;
        Ok(reply::file(name, compressed))
    }

    pub(super) fn finish(self) -> Profile {
        let mut texts: Vec<(String, i64)> = self.texts.into_iter().collect();
        texts.sort_unstable_by_key(|(_, number)| *number);
        let string_table = texts.into_iter().map(|(text, _)| text).collect();
        Profile { string_table, ..self.profile }
    }

    /// One mapping, for the program's name; it says that all symbols are here.
    fn map_program(&mut self) {
        let program = std::env::current_exe().unwrap_or_default();
        let filename = self.text(&program.to_string_lossy());
        self.profile.mapping.push(Mapping {
            id: 1,
            filename,
            has_functions: true,
            has_filenames: true,
            has_line_numbers: true,
        });
    }

    fn value_type(&mut self, (measure, unit): Measure) -> ValueType {
        ValueType { r#type: self.text(measure), unit: self.text(unit) }
    }

    fn text(&mut self, text: &str) -> i64 {
        if let Some(number) = self.texts.get(text) {
            return *number;
        }
        let number = (self.texts.len() as u64).cast_signed();
        self.texts.insert(text.to_owned(), number);
        number
    }

    fn function(&mut self, call: &Call) -> u64 {
        let (name, filename) = (self.text(&call.function), self.text(&call.file));
        let functions = &mut self.profile.function;
        *self.functions.entry((name, filename)).or_insert_with(|| {
            let id = functions.len() as u64 + 1;
            functions.push(Function { id, name, filename });
            id
        })
    }

    fn location(&mut self, frame: Frame) -> u64 {
        if let Some(id) = self.locations.get(&frame) {
            return *id;
        }
        let call = |call: &Call| Line { function_id: self.function(call), line: call.line.into() };
        let line = frame.calls.iter().map(call).collect();
        let id = self.profile.location.len() as u64 + 1;
        let location = Location { id, mapping_id: 1, address: frame.address, line };
        self.profile.location.push(location);
        self.locations.insert(frame, id);
        id
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: Measure = ("cpu", "nanoseconds");

    fn frame(function: &str, line: u32) -> Frame {
        let call = Call { function: function.to_owned(), file: "f.rs".to_owned(), line };
        Frame { calls: vec![call], address: line.into() }
    }

    #[test]
    fn what_recurs_is_written_once_and_numbers_lead_back_to_texts() {
        let mut builder = Builder::new(&[("samples", "count"), CPU], 1, (CPU, 10));
        builder.sample([frame("leaf", 1), frame("root", 2)], vec![1, 10], &[("thread", "a")]);
        builder.sample([frame("leaf", 3), frame("root", 2)], vec![2, 20], &[("thread", "a")]);
        let profile = builder.finish();
        assert_eq!((profile.function.len(), profile.location.len()), (2, 3));
        let text = |number: i64| profile.string_table[usize::try_from(number).unwrap()].as_str();
        assert_eq!(text(0), "");
        assert_eq!(text(profile.default_sample_type), "cpu");
        let stack = |sample: &Sample| {
            let name = |id: &u64| {
                let location = profile.location.iter().find(|known| known.id == *id).unwrap();
                let function = location.line[0].function_id;
                text(profile.function.iter().find(|known| known.id == function).unwrap().name)
            };
            sample.location_id.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(stack(&profile.sample[1]), ["leaf", "root"]);
        assert_eq!(profile.sample[1].value, [2, 20]);
        assert_eq!(Profile::decode(profile.encode_to_vec().as_slice()), Ok(profile));
    }
}
