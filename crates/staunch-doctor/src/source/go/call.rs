//! The lines of a stack: a call, its place, and who started the goroutine.
//!
//! Source: `traceback2` and `printArgs` in Go's `runtime/traceback.go`.

/// A call: `main.(*Replica).tick(0xc000012340, {0x51a730?, 0x0})`.
#[derive(Debug, PartialEq)]
pub(super) struct Call<'a> {
    pub(super) function: &'a str,
    pub(super) arguments: &'a str,
}

/// Splits a call from its arguments; they hold no parenthesis, and nothing comes behind them.
pub(super) fn parse(line: &str) -> Option<Call<'_>> {
    let (function, arguments) = line.strip_suffix(')')?.rsplit_once('(')?;
    (!function.is_empty()).then_some(Call { function, arguments })
}

/// Who started a goroutine: `created by main.serve in goroutine 7`; before Go 1.21 without an id.
pub(super) fn parse_birth(line: &str) -> Option<(&str, Option<u64>)> {
    let text = line.strip_prefix("created by ")?;
    match text.rsplit_once(" in goroutine ") {
        Some((function, id)) => Some((function, Some(id.parse().ok()?))),
        None => Some((text, None)),
    }
}

/// The place of a call: a tab, `/src/app/main.go:36 +0x1d`, and in a crash `fp=0x.. sp=0x.. pc=0x..`.
pub(super) fn parse_place(line: &str) -> Option<(&str, u32)> {
    let (file, rest) = line.strip_prefix('\t')?.rsplit_once(':')?;
    let line = rest.split(' ').next().unwrap_or(rest);
    Some((file, line.parse().ok()?))
}

/// The words of `arguments` that may be addresses, with their index and whether they are certain.
pub(super) fn addresses(arguments: &str) -> impl Iterator<Item = (u8, u64, bool)> + '_ {
    arguments.split(',').zip(0..).filter_map(|(word, index)| {
        let word = word.trim_matches([' ', '{', '}']);
        let certain = !word.ends_with('?');
        let digits = word.strip_suffix('?').unwrap_or(word).strip_prefix("0x")?;
        let value = u64::from_str_radix(digits, 16).ok()?;
        (value >= LOWEST_ADDRESS).then_some((index, value, certain))
    })
}

/// The first page is never mapped, and on Linux neither are the next fifteen.
const LOWEST_ADDRESS: u64 = 0x1_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls() {
        let check = |line, function, arguments| {
            assert_eq!(parse(line), Some(Call { function, arguments }), "{line}");
        };
        check("main.Timeout(...)", "main.Timeout", "...");
        check("main.main()", "main.main", "");
        check("main.(*G[...]).Put(0xc0, {})", "main.(*G[...]).Put", "0xc0, {}");
        check(
            "net/http.HandlerFunc.ServeHTTP(0x1?, {0x2, 0x3}, 0x4)",
            "net/http.HandlerFunc.ServeHTTP",
            "0x1?, {0x2, 0x3}, 0x4",
        );
        for line in ["", "main.main", "()", "exit status 2"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn births() {
        assert_eq!(parse_birth("created by main.f"), Some(("main.f", None)));
        let named = "created by main.(*A).f.func1 in goroutine 34";
        assert_eq!(parse_birth(named), Some(("main.(*A).f.func1", Some(34))));
        assert_eq!(parse_birth("created by main.f in goroutine x"), None);
        assert_eq!(parse_birth("main.f()"), None);
    }

    #[test]
    fn places() {
        assert_eq!(parse_place("\tapp/main.go:36 +0x1d"), Some(("app/main.go", 36)));
        assert_eq!(parse_place("\tC:/my app/a.go:7"), Some(("C:/my app/a.go", 7)));
        let crash = "\t/a.go:1 +0x1d fp=0xc000040f80 sp=0xc000040f00 pc=0x44";
        assert_eq!(parse_place(crash), Some(("/a.go", 1)));
        assert_eq!(parse_place("\t/a.go:1 fp=0xc000040f80 sp=0xc000040f00"), Some(("/a.go", 1)));
        assert_eq!(parse_place("\t/a.go:"), None);
        assert_eq!(parse_place("/a.go:1"), None);
    }

    #[test]
    fn words_that_may_be_addresses() {
        let found: Vec<_> = addresses("0xc000012340, {0x51a730?, 0x0}, ..., 0x7, _").collect();
        assert_eq!(found, [(0, 0xc0_0001_2340, true), (1, 0x51_a730, false)]);
        assert_eq!(addresses("0xfffffffffffffffff, ...").count(), 0);
    }
}
