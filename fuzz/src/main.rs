//! Throws mutated seeds at targets, on a stable compiler. `staunch-fuzz SECONDS SEED [TARGET]` runs each
//! target in a child process of its own; an input that makes one panic, die or hang is kept in
//! `fuzz/artifacts/TARGET`, and its path said. `staunch-fuzz try TARGET FILE` tries one again.

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use staunch_fuzz::{TARGETS, Target};

const INPUT_BYTES_MAX: usize = 4 << 10;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["child", target, seconds, seed, careful] => {
            child(find(target), number(seconds), number(seed), careful == "careful")
        }
        ["try", target, file] => {
            (find(target).run)(&fs::read(file).expect("a file to try"));
            true
        }
        [seconds, seed] => all(TARGETS.iter(), number(seconds), number(seed)),
        [seconds, seed, target] => all([find(target)].into_iter(), number(seconds), number(seed)),
        _ => panic!("staunch-fuzz SECONDS SEED [TARGET] | try TARGET FILE"),
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn find(name: &str) -> &'static Target {
    let names = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    TARGETS
        .iter()
        .find(|target| target.name == name)
        .unwrap_or_else(|| panic!("there are {}", names()))
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

fn all(targets: impl Iterator<Item = &'static Target>, seconds: u64, seed: u64) -> bool {
    targets.map(|target| run(target, seconds, seed)).fold(true, |all, one| all & one)
}

/// Runs a target in a child process. If that dies without saying why it is run again as before, with
/// each input written down first.
fn run(target: &Target, seconds: u64, seed: u64) -> bool {
    let ended = start(target, seconds, seed, "quick");
    if ended.is_none() {
        start(target, 4 * seconds + 60, seed, "careful");
        eprintln!("{}: it died, or hung; see {}", target.name, current(target).display());
    }
    ended == Some(true)
}

/// Whether the child was content; `None` if it died or hung.
fn start(target: &Target, seconds: u64, seed: u64, how: &str) -> Option<bool> {
    let mut child = Command::new(env::current_exe().expect("this program"))
        .args(["child", target.name, &seconds.to_string(), &seed.to_string(), how])
        .spawn()
        .expect("a child process");
    let end = Instant::now() + Duration::from_secs(seconds + 20);
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return match status.code() {
                Some(0) => Some(true),
                Some(1) => Some(false),
                _ => None,
            };
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts").join(target.name)
}

fn current(target: &Target) -> PathBuf {
    folder(target).join("current")
}

fn child(target: &Target, seconds: u64, seed: u64, is_careful: bool) -> bool {
    let mut random = fastrand::Rng::with_seed(seed);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut kept: Vec<Vec<u8>> = target.seeds.iter().map(|seed| seed.to_vec()).collect();
    for input in &kept {
        (target.run)(input);
    }
    let mut count = 0_u64;
    while !count.is_multiple_of(64) || Instant::now() < end {
        let mut input = kept[random.usize(..kept.len())].clone();
        for _ in 0..random.u8(1..8) {
            mutate(&mut input, &kept, &mut random);
        }
        input.truncate(INPUT_BYTES_MAX);
        if is_careful {
            keep(&current(target), &input);
        }
        if catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err() {
            let path = folder(target).join(format!("{seed}-{count}"));
            keep(&path, &input);
            eprintln!("{}: panicked after {count} inputs: {}", target.name, path.display());
            return false;
        }
        // Some go on: what is a few steps away from the seeds is not reached in one.
        if random.u8(..) == 0 {
            let place = random.usize(..256);
            match kept.get_mut(target.seeds.len() + place) {
                Some(old) => *old = input,
                None => kept.push(input),
            }
        }
        count += 1;
    }
    println!("{}: {count} inputs in {seconds} s (seed {seed})", target.name);
    true
}

fn keep(path: &Path, input: &[u8]) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder for it");
    fs::write(path, input).expect("room for it");
}

/// What parsers count with, end at, or do not expect.
const WORDS: &[&[u8]] = &[
    b"\0",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b";",
    b"-",
    b"0",
    b"9",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"18446744073709551615",
    b"18446744073709551616",
    b"-1",
    b"chunked",
    b"Content-Length: ",
    b"[",
    b"]",
    b"\"",
    b"=",
    b"\xc3\xa4",
    b"(",
    b")",
    b"kB",
    b"\x7f\xff\xff\xff",
    b"Transfer-Encoding: ",
    b"{",
    b"}",
    b".",
    b"'",
];

fn mutate(input: &mut Vec<u8>, kept: &[Vec<u8>], random: &mut fastrand::Rng) {
    let at = random.usize(..=input.len());
    let end = (at + random.usize(..=16)).min(input.len());
    match random.u8(..8) {
        0 if at < input.len() => input[at] ^= 1 << random.u8(..8),
        1 if at < input.len() => input[at] = random.u8(..),
        2 => drop(input.drain(at..end)),
        3 => {
            let again = input[at..end].to_vec();
            input.splice(at..at, again);
        }
        4 => input.truncate(at),
        5 => {
            let other = &kept[random.usize(..kept.len())];
            let from = random.usize(..=other.len());
            let to = (from + random.usize(..=64)).min(other.len());
            input.splice(at..end, other[from..to].iter().copied());
        }
        6 => input.insert(at, random.u8(..)),
        _ => {
            let word = WORDS[random.usize(..WORDS.len())];
            input.splice(at..end, word.iter().copied());
        }
    }
}
