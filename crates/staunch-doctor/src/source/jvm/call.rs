//! A line of a stack: `at java.util.HashMap.put(java.base@17.0.15/HashMap.java:610)`.
//!
//! Source: `java_lang_Throwable::print_stack_element` and `vframe::print_lock_info_on` in HotSpot.

/// One call.
#[derive(Debug, PartialEq)]
pub(super) struct Call<'a> {
    pub(super) function: &'a str,
    /// Empty, and line 0, of native and generated methods.
    pub(super) file: &'a str,
    pub(super) line: u32,
}

/// Reads what is behind `at `.
pub(super) fn parse(text: &str) -> Option<Call<'_>> {
    let (function, place) = text.strip_suffix(')')?.split_once('(')?;
    let place = place.rsplit_once('/').map_or(place, |(_, place)| place);
    let (file, line) = match place.rsplit_once(':') {
        Some((file, line)) => (file, line.parse().ok()?),
        None if matches!(place, "Native Method" | "Unknown Source") => ("", 0),
        None => (place, 0),
    };
    (!function.is_empty()).then_some(Call { function, file, line })
}

/// A method without what is another one in each run: `Exports$$Lambda.run` of
/// `Exports$$Lambda$15/0x00007f4ef900b228.run`.
pub(super) fn lasting_name(function: &str) -> String {
    let Some((class, rest)) = function.split_once("$$Lambda") else { return function.to_owned() };
    let method = rest.rsplit_once('.').map_or("", |(_, method)| method);
    format!("{class}$$Lambda.{method}")
}

/// The address in `<0x00000000fc013690> (a java.io.BufferedInputStream)`.
pub(super) fn address(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("0x")?;
    let end = rest.find(|it: char| !it.is_ascii_hexdigit()).unwrap_or(rest.len());
    u64::from_str_radix(&rest[..end], 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_all_kinds() {
        let check = |text, function, file, line| {
            assert_eq!(parse(text), Some(Call { function, file, line }));
        };
        check("Exports.file(Exports.java:39)", "Exports.file", "Exports.java", 39);
        check("a.B.<init>(app//B.java:1)", "a.B.<init>", "B.java", 1);
        let put = "java.util.HashMap.put";
        check(
            "java.util.HashMap.put(java.base@17.0.15/HashMap.java:610)",
            put,
            "HashMap.java",
            610,
        );
        check(
            "java.lang.Object.wait(java.base@25.0.3/Native Method)",
            "java.lang.Object.wait",
            "",
            0,
        );
        check("a.B$$Lambda$15/0x1.run(Unknown Source)", "a.B$$Lambda$15/0x1.run", "", 0);
        check("a.B.f(B.java)", "a.B.f", "B.java", 0);
        for text in ["a.B.f", "a.B.f(B.java:x)", "(B.java:1)", "a.B.f(B.java:1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_lambda_has_one_name_in_every_run() {
        assert_eq!(lasting_name("a.B$$Lambda$15/0x00007f4ef900b228.run"), "a.B$$Lambda.run");
        assert_eq!(lasting_name("a.B$$Lambda/0x01.accept"), "a.B$$Lambda.accept");
        assert_eq!(lasting_name("a.B.run"), "a.B.run");
    }

    #[test]
    fn addresses() {
        assert_eq!(address(" <0x00000000fc013690> (a java.io.File)"), Some(0xfc01_3690));
        assert_eq!(address(" <no object reference available>"), None);
    }
}
