//! Where a session is, and what follows: its project, and whose mail it may take over.

use super::*;

/// Takes over what was left in a session's place, and says how much.
fn claims(world: &mut World, id: &str) -> usize {
    match world.ok(Request::ClaimMail { caller: caller(id), from: None }) {
        Reply::Claimed(claimed) => claimed.from.iter().map(|(_, _, count)| count).sum(),
        other => panic!("{other:?}"),
    }
}

fn found(cwd: &str, repository: &str, name: &str) -> SessionChange {
    let (repository, name) = (Some(repository.into()), Some(name.into()));
    SessionChange::Place(Box::new(Place { cwd: cwd.into(), repository, name, ..Place::default() }))
}

// row 36
#[test]
fn the_project_is_the_repository_and_no_other_of_the_same_name() {
    let mut world = World::new();
    let sessions = [
        ("a", "/home/x/api/src", "/home/x/api/.git", "api", "project:api"),
        ("b", "/home/x/web/src", "/home/x/web/.git", "web", "project:web"),
        ("c", "/home/x/trees/fix", "/home/x/web/.git", "web", "project:web"),
        ("d", "/home/y/web", "/home/y/web/.git", "web", "project:y/web"),
        ("e", "/home/z/y/web", "/home/z/y/web/.git", "web", "project:z/y/web"),
        ("f", "/home/y/web/below", "/home/y/web/.git", "web", "project:y/web"),
    ];
    for (id, cwd, repository, name, room) in sessions {
        world.start(id, cwd);
        world.ok(update(id, found(cwd, repository, name)));
        assert_eq!(world.rooms_of(id), ["everyone", room], "{id}");
    }
    world.ok(update("a", found("/home/x/api", "/home/x/other/.git", "other")));
    assert_eq!(world.rooms_of("a"), ["everyone", "project:api"], "a look at a directory that it has left");
    let mut again = world.restarted(MINUTE);
    again.ok(update("d", found("/home/y/web", "/home/y/web/.git", "web")));
    assert_eq!(again.rooms_of("d"), ["everyone", "project:y/web"]);
    world.start("a", "/home/x/notes");
    assert_eq!(world.rooms_of("a"), ["everyone", "project:notes"], "it moved");
    assert_eq!(world.session("a").repository, None);
}

// row 36
#[test]
fn the_rooms_of_a_shim_stay_as_it_says() {
    let mut world = World::new();
    world.connect("k");
    let shim = Session { project: Some("tree".into()), ..Session::new("a".into(), "", "/w/tree", BIRTH) };
    world.ok(stated("k", Session { repository: Some("/w/said".into()), ..shim }));
    world.ok(update("a", found("/w/tree", "/w/web/.git", "web")));
    assert_eq!(world.rooms_of("a"), ["everyone", "project:tree"]);
    assert_eq!(world.session("a").repository, None, "a shim cannot say what its file system shows");
}

fn resolved(cwd: &str, directory: &str) -> SessionChange {
    SessionChange::Place(Box::new(Place { cwd: cwd.into(), directory: Some(directory.into()), ..Place::default() }))
}

// row 37
#[test]
fn a_directory_is_the_same_however_it_is_spelled() {
    for (old, new) in [("/w/x", "/w/x/"), ("/w/x/.", "/w/x"), ("/w//x", "/w/./x"), ("/w/x/", "/w/x//")] {
        let mut world = World::new();
        world.start("a", "/w/a");
        world.start("old", old);
        world.send("a", "old", "one");
        world.end("old");
        assert_eq!(world.start("new", new).left.map(|left| left.messages), Some(1), "{old}, {new}");
        assert_eq!(claims(&mut world, "new"), 1, "{old}, {new}");
    }
}

// row 37
#[test]
fn a_directory_behind_a_link_is_the_one_that_the_link_leads_to() {
    for (old, new) in [("/link", "/real"), ("/real", "/link"), ("/link", "/other-link")] {
        for restart in [false, true] {
            let mut world = World::new();
            world.start("a", "/w/a");
            world.start("old", old);
            if old != "/real" {
                world.ok(update("old", resolved(old, "/real")));
            }
            world.send("a", "old", "one");
            world.end("old");
            if restart {
                world = world.restarted(MINUTE);
            }
            let mut left = world.start("new", new).left;
            if new != "/real" {
                assert_eq!(left, None, "nothing is known of the link yet");
                world.ok(update("new", resolved(new, "/real")));
                left = world.prompt("new").left;
            }
            assert_eq!(left.map(|left| left.messages), Some(1), "{old}, {new}");
            assert!(world.prompt("new").left.is_none(), "once is enough");
            assert_eq!(claims(&mut world, "new"), 1, "{old}, {new}");
        }
    }
}
