//! Every target, for libFuzzer: the first byte chooses.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some((first, rest)) = bytes.split_first() {
        let targets = staunch_fuzz::TARGETS;
        (targets[usize::from(*first) % targets.len()].run)(rest);
    }
});

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("built by `cargo fuzz`; without it there is `cargo xtask fuzz`");
}
