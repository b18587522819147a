use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use staunch_diagnosis::Waiting;
use staunch_pprof::{Label, Line, ValueType};

use super::*;

const TEXTS: [&str; 14] = [
    "",
    "goroutine",
    "count",
    "runtime.gopark",
    "runtime.chansend",
    "main.produce",
    "app/main.go",
    "runtime.goexit",
    "inuse_space",
    "inuse_objects",
    "alloc_space",
    "alloc_objects",
    "job",
    "import",
];

/// Goroutines that wait in `main.produce`, inlined into a location with the runtime's send.
fn goroutines() -> Profile {
    let function = |(name, id): (i64, u64)| Function { id, name, filename: 6 };
    let line = |function_id| Line { function_id, line: 12 };
    let location = |id, functions: &[u64]| Location {
        id,
        line: functions.iter().copied().map(line).collect(),
        ..Location::default()
    };
    Profile {
        string_table: TEXTS.map(str::to_owned).to_vec(),
        sample_type: vec![ValueType { r#type: 1, unit: 2 }],
        function: [3, 4, 5, 7].into_iter().zip(1..).map(function).collect(),
        location: vec![location(1, &[1]), location(2, &[2, 3]), location(3, &[4])],
        sample: vec![Sample {
            location_id: vec![1, 2, 3],
            value: vec![17],
            label: vec![Label { key: 12, str: 13 }],
        }],
        ..Profile::default()
    }
}

fn heap() -> Profile {
    let mut profile = goroutines();
    let types = [11, 10, 9, 8].map(|r#type| ValueType { r#type, unit: 2 });
    profile.sample_type = types.to_vec();
    profile.sample[0].value = vec![9, 900, 3, -1];
    profile.period = 512 << 10;
    profile
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn read_goroutines(bytes: &[u8]) -> Result<Tasks, ProfileError> {
    read_goroutine_profile(bytes, PROFILE_BYTES_MAX)
}

#[test]
fn goroutines_have_a_state_and_their_own_frames() {
    let bytes = goroutines().encode_to_vec();
    for bytes in [gzip(&bytes), bytes] {
        let tasks = read_goroutines(&bytes).unwrap();
        let group = &tasks.groups[0];
        assert_eq!((group.count, group.state.waiting), (17, Waiting::ChanSend));
        assert_eq!(&*group.state.text, "chan send");
        assert_eq!(group.labels, [("job".to_owned(), "import".to_owned())]);
        let [frame] = &group.frames[..] else { panic!("{group:?}") };
        assert_eq!(
            (&*frame.function, &*frame.file, frame.line),
            ("main.produce", "app/main.go", 12)
        );
    }
}

#[test]
fn leaked_goroutines_are_marked() {
    let mut profile = goroutines();
    profile.string_table[1] = "goroutineleak".to_owned();
    let tasks = read_goroutines(&profile.encode_to_vec()).unwrap();
    assert_eq!(&*tasks.groups[0].state.text, "chan send (leaked)");
}

#[test]
fn a_heap_has_its_values_by_name() {
    let bytes = heap().encode_to_vec();
    let heap = read_heap_profile(bytes.as_slice(), PROFILE_BYTES_MAX).unwrap();
    let site = &heap.sites[0];
    assert_eq!((site.allocated_objects, site.allocated_bytes), (9, 900));
    assert_eq!((site.live_objects, site.live_bytes), (3, 0), "less than nothing is nothing");
    assert_eq!(heap.sampled_every, Some(512 << 10));
}

#[test]
fn another_kind_of_profile_is_named() {
    let bytes = goroutines().encode_to_vec();
    let error = read_heap_profile(bytes.as_slice(), PROFILE_BYTES_MAX).unwrap_err().to_string();
    assert_eq!(error, "the profile is of `goroutine`, not of `inuse_space`");
}

#[test]
fn what_leads_nowhere_is_an_error() {
    let check = |change: fn(&mut Profile), expected: &str| {
        let mut profile = goroutines();
        change(&mut profile);
        let error = read_goroutines(&profile.encode_to_vec()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(|it| it.sample[0].location_id[0] = 99, "location 99");
    check(|it| it.location[0].line[0].function_id = 98, "function 98");
    check(|it| it.function[0].name = -3, "text -3");
    check(|it| it.function[0].filename = i64::MAX, "text 9223372036854775807");
    check(|it| it.sample[0].label[0].key = 97, "text 97");
    check(|it| it.sample_type[0].r#type = 96, "text 96");
}

#[test]
fn a_bomb_is_refused_at_the_limit() {
    let bomb = gzip(&vec![0; 1 << 20]);
    assert!(bomb.len() < 20_000);
    let error = read_goroutine_profile(bomb.as_slice(), 100_000).unwrap_err();
    assert!(matches!(error, ProfileError::TooLarge { limit: 100_000 }), "{error}");
}

#[test]
fn cut_off_or_garbage_is_an_error_and_no_panic() {
    let bytes = gzip(&goroutines().encode_to_vec());
    for end in 1..bytes.len() {
        assert!(read_goroutines(&bytes[..end]).is_err(), "{end}");
    }
    assert!(matches!(read_goroutines(b"<html>"), Err(ProfileError::Malformed(_))));
}
