//! What is seen of directories as git makes them, with all their oddities.

use super::*;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

fn root() -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().canonicalize().unwrap();
    (place, root)
}

/// A directory of git's as `git init` makes it.
fn init(git: &Path) {
    for directory in ["objects", "refs"] {
        fs::create_dir_all(git.join(directory)).unwrap();
    }
    fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
}

/// A worktree as `git worktree add` makes it.
fn add_worktree(common: &Path, tree: &Path, branch: &str) {
    let own = common.join("worktrees").join(branch);
    fs::create_dir_all(&own).unwrap();
    fs::create_dir_all(tree).unwrap();
    fs::write(own.join("HEAD"), format!("ref: refs/heads/{branch}\n")).unwrap();
    fs::write(own.join("commondir"), "../..\n").unwrap();
    fs::write(tree.join(".git"), format!("gitdir: {}\n", own.display())).unwrap();
}

fn seen(path: &Path) -> Place {
    look_at(&Arc::from(path.to_str().unwrap()))
}

fn branch_at(path: &Path) -> Option<String> {
    seen(path).branch.map(|branch| branch.to_string())
}

fn name_at(path: &Path) -> Option<String> {
    seen(path).name.map(|name| name.to_string())
}

// row 35
#[test]
fn the_branch_is_that_of_the_nearest_repository_above_and_only_what_git_takes_for_a_name() {
    let (_place, root) = root();
    let below = root.join("src/deep");
    fs::create_dir_all(&below).unwrap();
    assert_eq!(branch_at(&below), None, "in no repository");
    init(&root.join(".git"));
    let (sha1, sha256) = ("0123456789abcdef0123456789abcdef01234567\n", format!("{}\n", "0123456789abcdef".repeat(4)));
    for (head, expected) in [
        ("ref: refs/heads/main\n", Some("main")),
        ("ref:refs/heads/main\n", Some("main")),
        ("ref:\t refs/heads/main \n", Some("main")),
        ("ref: refs/heads/feature/α\n", Some("feature/α")),
        ("ref: refs/remotes/x\n", Some("refs/remotes/x")),
        (sha1, Some("0123456789ab")),
        (sha256.as_str(), Some("0123456789ab")),
        ("ref: refs/heads/.invalid\n", None),
        ("ref: refs/heads/a/.b\n", None),
        ("ref: refs/heads/a..b\n", None),
        ("ref: refs/heads/a.lock\n", None),
        ("ref: refs/heads/a b\n", None),
        ("ref: refs/heads/\n", None),
        ("ref: refs/heads/a\u{1b}[31m\n", None),
        ("ref: \n", None),
        ("0123456789abcdef\n", None),
        ("nonsense\n", None),
        ("", None),
    ] {
        fs::write(root.join(".git/HEAD"), head).unwrap();
        assert_eq!(branch_at(&below).as_deref(), expected, "{head:?}");
    }
    fs::remove_file(root.join(".git/HEAD")).unwrap();
    symlink("refs/heads/old", root.join(".git/HEAD")).unwrap();
    assert_eq!(branch_at(&below).as_deref(), Some("old"), "a link, as old versions make it");
}

// row 35
#[test]
fn what_is_no_repository_for_git_is_none_here() {
    let (_place, root) = root();
    init(&root.join(".git"));
    let below = root.join("below");
    fs::create_dir_all(below.join(".git")).unwrap();
    assert_eq!(branch_at(&below).as_deref(), Some("main"), "an empty directory is passed over");
    fs::write(below.join(".git/HEAD"), "ref: refs/heads/x\n").unwrap();
    assert_eq!(branch_at(&below).as_deref(), Some("main"), "without objects it is still none");
    fs::remove_dir_all(below.join(".git")).unwrap();
    for broken in ["gitdir: ../nowhere\n", "nonsense\n", ""] {
        fs::write(below.join(".git"), broken).unwrap();
        assert_eq!(branch_at(&below), None, "{broken:?}: not the one above");
    }
    assert_eq!(seen(Path::new("relative")), Place { cwd: "relative".into(), ..Place::default() });
}

#[test]
fn what_is_no_regular_file_is_not_waited_for() {
    let (_place, root) = root();
    init(&root.join(".git"));
    fs::remove_file(root.join(".git/HEAD")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join(".git/HEAD"), 0o600.into()).unwrap();
    assert_eq!(branch_at(&root), None);
}

// row 36
#[test]
fn a_repository_is_called_as_what_its_worktrees_share() {
    let (_place, root) = root();
    let web = root.join("web");
    init(&web.join(".git"));
    fs::create_dir_all(web.join("src")).unwrap();
    add_worktree(&web.join(".git"), &root.join("trees/fix"), "fix");
    fs::create_dir_all(root.join("trees/fix/src")).unwrap();
    let common = web.join(".git");
    for (path, branch) in [("web", "main"), ("web/src", "main"), ("trees/fix", "fix"), ("trees/fix/src", "fix")] {
        let place = seen(&root.join(path));
        assert_eq!((place.repository.as_deref(), place.name.as_deref()), (common.to_str(), Some("web")), "{path}");
        assert_eq!(place.branch.as_deref(), Some(branch), "{path}");
    }
    // A directory of git's as it is shared by worktrees alone, and one without any.
    init(&root.join("api/.bare"));
    add_worktree(&root.join("api/.bare"), &root.join("api/one"), "one");
    init(&root.join("srv/db.git"));
    add_worktree(&root.join("srv/db.git"), &root.join("db-two"), "two");
    for (path, name) in [("api/one", "api"), ("srv/db.git", "db"), ("db-two", "db")] {
        assert_eq!(name_at(&root.join(path)).as_deref(), Some(name), "{path}");
    }
    // A submodule shares nothing: it is a repository of its own.
    init(&common.join("modules/libs/zip"));
    fs::create_dir_all(web.join("libs/zip")).unwrap();
    fs::write(web.join("libs/zip/.git"), "gitdir: ../../.git/modules/libs/zip\n").unwrap();
    let module = seen(&web.join("libs/zip"));
    assert_eq!((module.name.as_deref(), module.branch.as_deref()), (Some("zip"), Some("main")));
    assert_ne!(module.repository.as_deref(), common.to_str());
}

// row 37
#[test]
fn a_directory_is_resolved_where_it_is_spelled_otherwise() {
    let (_place, root) = root();
    init(&root.join("real/.git"));
    symlink(root.join("real"), root.join("link")).unwrap();
    let real = root.join("real");
    assert_eq!(seen(&real).directory, None);
    for other in ["link", "real/", "real/.", "x/../real"] {
        fs::create_dir_all(root.join("x")).unwrap();
        let place = seen(&root.join(other));
        assert_eq!(place.directory.as_deref(), real.to_str(), "{other}");
        assert_eq!((place.name.as_deref(), place.branch.as_deref()), (Some("real"), Some("main")), "{other}");
    }
}

#[test]
fn a_session_is_looked_at_once_in_a_while_or_when_it_moves_and_told_of_if_something_changed() {
    let (_place, root) = root();
    init(&root.join(".git"));
    fs::create_dir(root.join("sub")).unwrap();
    let found = seen(&root);
    let known = Place { name: None, ..found.clone() };
    let moved = Place { name: None, branch: None, ..seen(&root.join("sub")) };
    let nothing = Place { cwd: known.cwd.clone(), ..Place::default() };
    let old = Place { branch: Some("old".into()), ..known.clone() };
    let (store, told) = bounded(8);
    let (wish, wishes) = bounded(8);
    for (id, known) in [("a", &nothing), ("a", &nothing), ("b", &known), ("c", &old), ("a", &moved)] {
        wish.send(Look { session: SessionId::from(id), known: known.clone() }).unwrap();
    }
    drop(wish);
    run(&wishes, &store);
    let told: Vec<(String, Place)> = told
        .try_iter()
        .map(|command| match command {
            Command::Request {
                request: Request::UpdateSession { session, change: SessionChange::Place(place) },
                ..
            } => (session.as_str().to_owned(), *place),
            _ => panic!("something else"),
        })
        .collect();
    let expected = [("a", found.clone()), ("c", found), ("a", seen(&root.join("sub")))];
    assert_eq!(told, expected.map(|(id, place)| (id.to_owned(), place)));
}
