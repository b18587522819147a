//! Objects by class: `jcmd PID GC.class_histogram`, or `jmap -histo:live PID`.
//!
//! Source: `KlassInfoHisto::print_histo_on` in HotSpot, 8 to 25.

use std::io::BufRead;

use staunch_diagnosis::{ClassCount, Heap};

use crate::source::text::{Lines, TextError};

/// A JVM with more classes than that has other worries.
const CLASSES_MAX: usize = 2_000_000;

/// Whether a text that begins so is a class histogram.
pub(crate) fn is_class_histogram(beginning: &[u8]) -> bool {
    let beginning = String::from_utf8_lossy(beginning);
    beginning.lines().take(8).any(is_title)
}

fn is_title(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next() == Some("num") && words.next() == Some("#instances")
}

/// Reads a class histogram. Blocks as long as `reader` does.
///
/// ```
/// use staunch_doctor::source::jvm::read_class_histogram;
///
/// let text = " num     #instances         #bytes  class name (module)\n\
///     -------------------------------------------------------\n   \
///     1:          9626         447048  [B (java.base@17.0.15)\n";
/// let heap = read_class_histogram(text.as_bytes())?;
/// assert_eq!((&*heap.classes[0].name, heap.classes[0].instances), ("byte[]", 9626));
/// # Ok::<(), staunch_doctor::source::TextError>(())
/// ```
///
/// # Errors
/// [`TextError`]
pub fn read_class_histogram(reader: impl BufRead) -> Result<Heap, TextError> {
    let mut lines = Lines::of(reader, "a class histogram");
    let mut classes = Vec::new();
    let mut is_begun = false;
    while let Some(line) = lines.next()? {
        let text = line.text.trim_start();
        if !is_begun || text.is_empty() || text.starts_with("---") {
            is_begun |= is_title(text);
            continue;
        }
        if text.starts_with("Total ") {
            break;
        }
        if classes.len() == CLASSES_MAX {
            return Err(line.place.too_large("classes", CLASSES_MAX as u64));
        }
        let class = class(text);
        classes.push(class.ok_or_else(|| {
            line.place.malformed("expected number, instances, bytes and a class", text)
        })?);
    }
    if classes.is_empty() {
        return Err(lines.nothing());
    }
    Ok(Heap { classes, ..Heap::default() })
}

/// `1: 9626 447048 [B (java.base@17.0.15)`
fn class(line: &str) -> Option<ClassCount> {
    let mut words = line.split_whitespace();
    words.next()?.strip_suffix(':')?.parse::<u64>().ok()?;
    let (instances, bytes) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(ClassCount { name: written(words.next()?), instances, bytes })
}

/// A class as a programmer writes it: `byte[]` of `[B` (JVMS, 4.3.2).
fn written(name: &str) -> String {
    let element = name.trim_start_matches('[');
    let dimensions = name.len() - element.len();
    if dimensions == 0 {
        return name.to_owned();
    }
    let element = match element {
        "B" => "byte",
        "C" => "char",
        "D" => "double",
        "F" => "float",
        "I" => "int",
        "J" => "long",
        "S" => "short",
        "Z" => "boolean",
        _ => element.trim_start_matches('L').trim_end_matches(';'),
    };
    element.to_owned() + &"[]".repeat(dimensions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TITLE: &str = "27535:\n num     #instances         #bytes  class name (module)\n-----\n";

    #[test]
    fn classes_are_counted_under_their_written_names() {
        let text = format!(
            "{TITLE}   1:  1  16  [[Ljava.lang.String; (java.base@17)\n   2: 50 1200  Sessions$Session\n\
             Total  51  1216\n"
        );
        assert!(is_class_histogram(text.as_bytes()));
        let heap = read_class_histogram(text.as_bytes()).unwrap();
        let classes: Vec<_> =
            heap.classes.iter().map(|it| (&*it.name, it.instances, it.bytes)).collect();
        assert_eq!(classes, [("java.lang.String[][]", 1, 16), ("Sessions$Session", 50, 1200)]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let refused = |rest: &str| {
            let text = format!("{TITLE}{rest}");
            read_class_histogram(text.as_bytes()).unwrap_err().to_string()
        };
        assert!(refused("  1: many 16 A\n").contains("line 4"), "{}", refused("  1: many 16 A\n"));
        assert!(refused("  1: 1 1\n").contains("line 4"));
        assert!(refused("").contains("nothing of a class histogram"));
    }
}
