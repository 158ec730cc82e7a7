//! Groups: how sessions say which they are in, and which rooms that makes. A group is an automatic room, so that a message
//! to it is one message with its readers listed, as in any room. It must not decide who may be in a group.

use crate::error::RequestError;
use crate::limits::{GROUP_LEVELS_MAX, GROUPS_PER_SESSION_MAX, NAME_BYTES_MAX};
use crate::model::GROUP_PREFIX;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a session said of its groups, as its row keeps it: `name`, or `name:role`, without the `@`, each once.
pub(super) fn parse(groups: &[String]) -> Result<Vec<Arc<str>>, RequestError> {
    if groups.len() > GROUPS_PER_SESSION_MAX {
        let message = format!("{} groups; a session can be in at most {GROUPS_PER_SESSION_MAX}", groups.len());
        return Err(RequestError::invalid(message));
    }
    let mut parsed: Vec<Arc<str>> = Vec::with_capacity(groups.len());
    for group in groups {
        let group = group.strip_prefix('@').unwrap_or(group);
        let (name, role) = split(group);
        check_name(name)?;
        if let Some(role) = role {
            super::validate::name("a group's role", role)?;
        }
        if !parsed.iter().any(|other| **other == *group) {
            parsed.push(Arc::from(group));
        }
    }
    Ok(parsed)
}

/// A group's name, and the session's role in it.
fn split(group: &str) -> (&str, Option<&str>) {
    group.split_once(':').map_or((group, None), |(name, role)| (name, Some(role)))
}

fn check_name(name: &str) -> Result<(), RequestError> {
    let is_level = |level: &str| {
        let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        !level.is_empty() && level.chars().all(allowed)
    };
    // With what its room's id has before it, and a role behind it, it is still a name.
    if name.len() > NAME_BYTES_MAX - GROUP_PREFIX.len() {
        return Err(RequestError::invalid(format!("a group's name is {} bytes long", name.len())));
    }
    if !name.split('/').all(is_level) || name.split('/').count() > GROUP_LEVELS_MAX {
        let message = format!(
            "{name:?} is no group: a name has letters, digits, '-', '_' and '.', in at most {GROUP_LEVELS_MAX} levels with '/' between them"
        );
        return Err(RequestError::invalid(message));
    }
    if matches!(name, "all" | "everyone") {
        return Err(RequestError::invalid(format!("'{name}' means every session, and cannot be a group")));
    }
    Ok(())
}

/// The groups that a session is in by what its row says: whoever is in `a/b/c` is in `a/b` and `a` too.
pub(super) fn all_of(groups: &[Arc<str>]) -> BTreeSet<Arc<str>> {
    let mut all = BTreeSet::new();
    for group in groups {
        let (name, _) = split(group);
        let ends = name.match_indices('/').map(|(at, _)| at).chain([name.len()]);
        all.extend(ends.map(|end| Arc::from(&name[..end])));
    }
    all
}

/// The id of the room of a group.
pub(super) fn room_id(group: &str) -> String {
    format!("{GROUP_PREFIX}{group}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(groups: &[&str]) -> Result<Vec<String>, RequestError> {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        parse(&groups).map(|groups| groups.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn groups_are_kept_as_they_were_said_but_for_the_sign_before_them() {
        let groups = parsed(&["@dev", "dev", "@dev/web:lead", "été.x_1-2"]).unwrap();
        assert_eq!(groups, ["dev", "dev/web:lead", "été.x_1-2"]);
    }

    #[test]
    fn what_cannot_be_addressed_is_no_group() {
        for bad in ["", "@", "a b", "a//b", "/a", "a/", "@@a", ":role", "all", "@everyone", "a\n", "a:r\u{7}", "a,b"] {
            assert!(parsed(&[bad]).is_err(), "{bad:?}");
        }
        assert!(parsed(&["a/b/c/d/e/f/g/h"]).is_ok() && parsed(&["a/b/c/d/e/f/g/h/i"]).is_err());
        let long = "x".repeat(NAME_BYTES_MAX);
        assert!(parsed(&[long.as_str()]).is_err());
        let many: Vec<String> = (0..=GROUPS_PER_SESSION_MAX).map(|number| format!("g{number}")).collect();
        assert!(parse(&many[1..]).is_ok() && parse(&many).is_err());
    }

    #[test]
    fn whoever_is_in_a_part_is_in_the_whole() {
        let groups: Vec<Arc<str>> = ["a/b/c:lead", "a/x", "d"].map(Arc::from).to_vec();
        let all: Vec<String> = all_of(&groups).iter().map(ToString::to_string).collect();
        assert_eq!(all, ["a", "a/b", "a/b/c", "a/x", "d"]);
    }
}
