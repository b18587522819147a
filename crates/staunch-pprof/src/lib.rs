//! The messages of pprof's `profile.proto` (`github.com/google/pprof/proto/profile.proto`), as
//! far as they are written or read here.
//!
//! A crate of its own because two need them: the console writes profiles, the doctor reads them. Every
//! text is an index into [`Profile::string_table`], whose first entry is empty; ids start at 1. A reader
//! must not trust either.
//!
//! ```
//! use prost::Message as _;
//! use staunch_pprof::Profile;
//!
//! let profile = Profile { string_table: vec![String::new()], period: 1, ..Profile::default() };
//! assert_eq!(Profile::decode(profile.encode_to_vec().as_slice())?, profile);
//! # Ok::<(), prost::DecodeError>(())
//! ```

/// A profile: samples, and what their stacks mean.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Profile {
    /// What the values of a sample mean.
    #[prost(message, repeated, tag = "1")]
    pub sample_type: Vec<ValueType>,
    /// What was counted, by stack.
    #[prost(message, repeated, tag = "2")]
    pub sample: Vec<Sample>,
    /// The files that code was loaded from.
    #[prost(message, repeated, tag = "3")]
    pub mapping: Vec<Mapping>,
    /// The addresses in stacks.
    #[prost(message, repeated, tag = "4")]
    pub location: Vec<Location>,
    /// The functions that addresses are in.
    #[prost(message, repeated, tag = "5")]
    pub function: Vec<Function>,
    /// Every text; the first is empty.
    #[prost(string, repeated, tag = "6")]
    pub string_table: Vec<String>,
    /// A regular expression: functions to leave out, with all that they call.
    #[prost(int64, tag = "7")]
    pub drop_frames: i64,
    /// When it was taken, in nanoseconds since 1970.
    #[prost(int64, tag = "9")]
    pub time_nanos: i64,
    /// For how long samples were taken, in nanoseconds.
    #[prost(int64, tag = "10")]
    pub duration_nanos: i64,
    /// What lies between two samples.
    #[prost(message, optional, tag = "11")]
    pub period_type: Option<ValueType>,
    /// How much of it.
    #[prost(int64, tag = "12")]
    pub period: i64,
    /// The type of value that viewers show first.
    #[prost(int64, tag = "14")]
    pub default_sample_type: i64,
}

/// What a value means.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ValueType {
    /// Its name: `inuse_space`.
    #[prost(int64, tag = "1")]
    pub r#type: i64,
    /// Its unit: `bytes`.
    #[prost(int64, tag = "2")]
    pub unit: i64,
}

/// What was counted for one stack.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Sample {
    /// The stack, the innermost location first.
    #[prost(uint64, repeated, tag = "1")]
    pub location_id: Vec<u64>,
    /// A value for each of [`Profile::sample_type`].
    #[prost(int64, repeated, tag = "2")]
    pub value: Vec<i64>,
    /// What else is known of it.
    #[prost(message, repeated, tag = "3")]
    pub label: Vec<Label>,
}

/// A label of a sample; one with a number instead of a text has `str` 0.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Label {
    /// Its key.
    #[prost(int64, tag = "1")]
    pub key: i64,
    /// Its text.
    #[prost(int64, tag = "2")]
    pub str: i64,
}

/// A file that code was loaded from.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Mapping {
    /// Its id.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its path.
    #[prost(int64, tag = "5")]
    pub filename: i64,
    /// Functions are known: nobody needs to look for symbols.
    #[prost(bool, tag = "7")]
    pub has_functions: bool,
    /// So are files.
    #[prost(bool, tag = "8")]
    pub has_filenames: bool,
    /// And lines.
    #[prost(bool, tag = "9")]
    pub has_line_numbers: bool,
}

/// An address in a stack.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Location {
    /// Its id.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// The file that the code is from; 0 if unknown.
    #[prost(uint64, tag = "2")]
    pub mapping_id: u64,
    /// The address.
    #[prost(uint64, tag = "3")]
    pub address: u64,
    /// Several where functions were inlined, the innermost first.
    #[prost(message, repeated, tag = "4")]
    pub line: Vec<Line>,
}

/// A line of source.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Line {
    /// The function that it is in.
    #[prost(uint64, tag = "1")]
    pub function_id: u64,
    /// Its number.
    #[prost(int64, tag = "2")]
    pub line: i64,
}

/// A function. The field `system_name`, the mangled name, stays empty when written: tools that find it
/// demangle it again and take `<..>` for template arguments to be left out.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Function {
    /// Its id.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its name, as people read it.
    #[prost(int64, tag = "2")]
    pub name: i64,
    /// The file that it is in.
    #[prost(int64, tag = "4")]
    pub filename: i64,
}
