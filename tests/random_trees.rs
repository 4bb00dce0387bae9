//! Two random trees, one as the base and one as the machine: what is built is the machine.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ffi::OsString;
use support::look::{differences, look};
use support::tool::{Place, from_file};

/// An object at a path of a few names, so that types meet often.
#[derive(Clone, Debug)]
struct Object {
    path: Vec<u8>,
    kind: u8,
    variant: u8,
    owner: u32,
    mode: u32,
}

fn objects() -> impl Strategy<Value = Vec<Object>> {
    let path = proptest::collection::vec(0..4_u8, 1..4);
    let object = (path, 0..8_u8, 0..2_u8, 0..2_u32, prop_oneof![Just(0o644), Just(0o755), Just(0o4711)]);
    let object =
        object.prop_map(|(path, kind, variant, owner, mode)| Object { path, kind, variant, owner, mode });
    proptest::collection::vec(object, 0..24)
}

/// Returns the fixture lines of a tree. Skips objects whose parent is not a directory, and keeps
/// the first object at a path.
fn lines(objects: &[Object]) -> String {
    let mut text = "file 0644 0:0 /etc/os-release \"ID=x\\n\"\n".to_owned();
    let mut kinds: BTreeMap<Vec<u8>, &str> = BTreeMap::new();
    let mut inodes: Vec<String> = Vec::new();
    for object in objects {
        let blocked = (1..object.path.len())
            .any(|end| kinds.get(&object.path[..end]).is_some_and(|kind| *kind != "dir"));
        if blocked || kinds.contains_key(&object.path) {
            continue;
        }
        let path: String = object
            .path
            .iter()
            .map(|name| format!("/{}", ["a", "b", "a-", "\\xff"][usize::from(*name)]))
            .collect();
        let path = format!("/srv{path}");
        let (mode, owner, v) =
            (format!("{:04o}", object.mode), format!("{0}:{0}", object.owner), object.variant);
        let (kind, line) = match object.kind {
            0 | 1 => ("file", format!("file {mode} {owner} {path} \"content {v}\"\n")),
            2 | 3 => ("dir", format!("dir {mode} {owner} {path}\n")),
            4 => ("link", format!("link 0777 {owner} {path} /srv/{}\n", ["a", "b"][usize::from(v)])),
            5 => ("fifo", format!("fifo {mode} {owner} {path}\n")),
            6 => ("file", format!("file {mode} {owner} {path} same\nxattr - - {path} user.x \"{v}\"\n")),
            _ => match inodes.get(usize::from(v)) {
                Some(first) => ("hard", format!("hard - - {path} {first}\n")),
                None => ("file", format!("file {mode} {owner} {path} \"\"\n")),
            },
        };
        for end in 1..object.path.len() {
            kinds.insert(object.path[..end].to_vec(), "dir");
        }
        kinds.insert(object.path.clone(), kind);
        if !matches!(kind, "dir" | "hard") {
            inodes.push(path);
        }
        text += &line;
    }
    text
}

fn round_trip(base: &str, machine: &str, way: u8) -> Result<(), TestCaseError> {
    let place = Place::new();
    place.root("base", base);
    place.root("machine", machine);
    let args: Vec<OsString> = match way {
        0 => from_file(&place.pack("base")),
        1 => vec!["--base".into(), "x".into()],
        _ => Vec::new(),
    };
    place.convert("ctx", &args).ends(0);
    let built = place.build("ctx", "built");
    prop_assert_eq!(built.code, Some(0), "{}\nbase\n{}\nmachine\n{}", built.err, base, machine);
    let lines =
        differences(&look(&place.path("machine")), &look(&place.path("built")), &place.carried("ctx"));
    prop_assert!(lines.is_empty(), "{}\nbase\n{}\nmachine\n{}", lines.join("\n"), base, machine);
    let again = place.apply("ctx", "built", &[]).ends(0);
    prop_assert!(
        again.err.contains(" 0 files (0 B) written, 0 planned deletions, 0 others removed"),
        "{}",
        again.err
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_over_any_other(base in objects(), machine in objects(), way in 0..3_u8) {
        round_trip(&lines(&base), &lines(&machine), way)?;
    }
}
