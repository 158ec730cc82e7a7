//! What a value holds, for tests that nothing grows with what is gone.

use std::collections::BTreeMap;
use std::fmt::Debug;

/// A value written out in full, by parts that are named down to the fields of its fields: a map that is added later is
/// in it too.
pub(crate) fn parts(value: &impl Debug) -> BTreeMap<String, Vec<String>> {
    let (mut parts, mut path) = (BTreeMap::<String, Vec<String>>::new(), Vec::<String>::new());
    for line in format!("{value:#?}").lines() {
        let depth = (line.len() - line.trim_start().len()) / 4;
        if let Some((name, _)) = line.trim_start().split_once(": ").filter(|_| (1..=2).contains(&depth)) {
            path.truncate(depth - 1);
            path.push(name.to_owned());
        }
        parts.entry(path.join(".")).or_default().push(line.to_owned());
    }
    parts
}

/// How many lines each of these parts takes.
pub(crate) fn held(value: &impl Debug) -> BTreeMap<String, usize> {
    parts(value).into_iter().map(|(part, lines)| (part, lines.len())).collect()
}

/// The parts that do not take as many lines as before.
pub(crate) fn grown(before: &BTreeMap<String, usize>, after: &BTreeMap<String, usize>) -> Vec<String> {
    let other = after.iter().filter(|(part, lines)| before.get(*part) != Some(*lines));
    other.map(|(part, lines)| format!("{part}: {lines} lines, {:?} before", before.get(part))).collect()
}
