//! Every kind of object, with every owner and mode, in every state between base and machine.

use super::fixture::quote;
use std::fmt::Write;

/// Kinds of objects.
pub(crate) const KINDS: &[&str] = &[
    "file",
    "empty",
    "sparse",
    "dir",
    "full-dir",
    "sticky",
    "link",
    "dangling",
    "to-dir",
    "fifo",
    "char",
    "hard",
    "hard-across",
    "setuid",
    "capability",
    "acl",
    "default-acl",
    "user-xattr",
];
/// One of each type, for changes from one to another.
const TYPES: &[&str] = &["file", "dir", "full-dir", "link", "to-dir", "fifo", "char", "hard"];
const OWNERS: &[(&str, &str)] =
    &[("0:0", "0644"), ("1000:1000", "0700"), ("4294967294:4294967294", "2755"), ("33:0", "0000")];

/// `security.capability`: version 2, effective, `cap_net_bind_service`.
pub(crate) const CAPABILITY: &str =
    "\\x01\\x00\\x00\\x02\\x00\\x04\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00";
const ACL: &str = "u::rw-,u:1000:r--,g::r--,m::r--,o::---";

/// The lines of an object; `v` is `1`, or `2` for other content.
pub(crate) fn object(kind: &str, path: &str, mode: &str, owner: &str, v: u8) -> String {
    let file = format!("file {mode} {owner} {path} \"content {v} of {path}\\n\"\n");
    match kind {
        "file" => file,
        "empty" => format!("file {mode} {owner} {path} \"{}\"\n", if v == 1 { "" } else { "full" }),
        "sparse" => format!("file {mode} {owner} {path} @sparse 30{v}000\n"),
        "dir" => format!("dir {mode} {owner} {path}\n"),
        "full-dir" => format!(
            "dir {mode} {owner} {path}\nfile 0600 0:0 {path}/child \"{v}\"\nfile 0600 0:0 {path}/only-{v} x\n\
             dir 0711 7:7 {path}/sub{v}/deep\nlink 0777 0:0 {path}/sub{v}/deep/up ../..\n"
        ),
        "sticky" => format!("dir 1777 {owner} {path}\n"),
        "link" => format!("link 0777 {owner} {path} /etc/target{v}\n"),
        "dangling" => format!("link 0777 {owner} {path} ../../nowhere/{v}\n"),
        "to-dir" => format!("link 0777 {owner} {path} /srv/anchor{v}\n"),
        "fifo" => format!("fifo {mode} {owner} {path}\n"),
        "char" => format!("char {mode} {owner} {path} {v}:3\n"),
        "hard" => format!("{file}hard - - {path}.second {path}\n"),
        "hard-across" => format!("{file}hard - - {path}.other/name {path}\n"),
        "setuid" => format!("file 6755 {owner} {path} \"program {v}\"\n"),
        "capability" => format!("{file}xattr - - {path} security.capability \"{CAPABILITY}\"\n"),
        "acl" => format!("{file}acl - - {path} access {ACL}\n"),
        "default-acl" => {
            format!("dir {mode} {owner} {path}\nacl - - {path} access {ACL}\nacl - - {path} default {ACL}\n")
        }
        "user-xattr" => {
            format!("{file}xattr - - {path} user.comment \"a\\x00b{v}\"\nxattr - - {path} user.empty \"\"\n")
        }
        other => panic!("no kind {other}"),
    }
}

/// The matrix as the lines of a base and of a machine.
pub(crate) fn matrix() -> (String, String) {
    let (mut base, mut machine) = (String::new(), String::new());
    for root in [&mut base, &mut machine] {
        *root += "file 0644 0:0 /srv/anchor1/kept one\nfile 0644 0:0 /srv/anchor2/kept two\n";
        *root += "dir 0755 0:0 /etc\nfile 0644 0:0 /etc/os-release \"ID=debian\\nVERSION_ID=12\\n\"\n";
    }
    states(&mut base, &mut machine);
    types(&mut base, &mut machine, "/srv/type", TYPES);
    inodes(&mut base, &mut machine);
    names(&mut base, &mut machine);
    (base, machine)
}

fn states(base: &mut String, machine: &mut String) {
    for kind in KINDS {
        for (owner, mode) in OWNERS {
            let at = |state: &str| format!("/srv/{state}/{kind}/{mode}");
            *base += &object(kind, &at("only-in-base"), mode, owner, 1);
            *machine += &object(kind, &at("new"), mode, owner, 1);
            *base += &object(kind, &at("same"), mode, owner, 1);
            *machine += &object(kind, &at("same"), mode, owner, 1);
            *base += &object(kind, &at("content"), mode, owner, 2);
            *machine += &object(kind, &at("content"), mode, owner, 1);
            *base += &object(kind, &at("metadata"), "0604", "5:6", 1);
            *machine += &object(kind, &at("metadata"), mode, owner, 1);
            // The attributes alone.
            *base += &object(plain(kind), &at("bare"), mode, owner, 1);
            *machine += &object(kind, &at("bare"), mode, owner, 1);
            *base += &object(kind, &at("stripped"), mode, owner, 1);
            *machine += &object(plain(kind), &at("stripped"), mode, owner, 1);
        }
    }
}

/// The same kind without attributes.
fn plain(kind: &str) -> &str {
    match kind {
        "capability" | "acl" | "user-xattr" | "setuid" => "file",
        "default-acl" | "sticky" => "dir",
        other => other,
    }
}

/// Every type to every other, beneath `directory`.
pub(crate) fn types(base: &mut String, machine: &mut String, directory: &str, types: &[&str]) {
    for (from, to) in
        types.iter().flat_map(|from| types.iter().map(move |to| (from, to))).filter(|(from, to)| from != to)
    {
        let path = format!("{directory}/{from}-{to}");
        *base += &object(from, &path, "0755", "1:2", 1);
        *machine += &object(to, &path, "0750", "3:4", 1);
    }
}

/// Hard links: names of one inode in brackets, a content to each, for the base and for the
/// machine.
const INODES: &[(&str, &str)] = &[
    ("[ab]1", "[a]1 [b]1"),
    ("[a]1 [b]1", "[ab]1"),
    ("[ab]1", "[a]1 [b]2"),
    ("[ab]1", "[a]2 [b]1"),
    ("[a]1 [b]2", "[ab]1"),
    ("[a]1 [b]2", "[ab]2"),
    ("[abc]1", "[def]1"),
    ("[abc]1", "[def]2"),
    ("[abc]1", "[bcd]1"),
    ("[bcd]1", "[abc]1"),
    ("[abc]1", "[abc]2"),
    ("[abc]1", "[a]1 [bc]1"),
    ("[abc]1", "[ac]1 [b]1"),
    ("[abc]1", "[ab]1 [c]3"),
    ("[ab]1 [cd]2", "[ac]1 [bd]2"),
    ("[ab]1 [cd]1", "[ad]1 [bc]1"),
    ("[ab]1 [cd]1", "[abcd]1"),
    ("[abcd]1", "[ab]1 [cd]1"),
    ("", "[abc]1"),
    ("[abc]1", ""),
    ("[c]1", "[abc]1"),
    ("[a]1", "[abc]1"),
    ("[b]2", "[abc]1"),
];

fn inodes(base: &mut String, machine: &mut String) {
    for (number, (before, after)) in INODES.iter().enumerate() {
        for kind in ["file", "link", "fifo", "char"] {
            groups(base, before, &format!("/srv/inodes/{kind}{number}"), kind);
            groups(machine, after, &format!("/srv/inodes/{kind}{number}"), kind);
        }
    }
}

fn groups(root: &mut String, text: &str, directory: &str, kind: &str) {
    *root += &format!("dir 0755 0:0 {directory}\n");
    for group in text.split(' ').filter(|group| !group.is_empty()) {
        let (names, content) = group[1..].split_once(']').unwrap();
        let mut paths = names.chars().map(|name| format!("{directory}/{name}"));
        let first = paths.next().unwrap();
        *root += &match kind {
            "file" => format!("file 0644 0:0 {first} \"content {content}\"\n"),
            other => object(other, &first, "0644", "0:0", content.parse().unwrap()),
        };
        paths.for_each(|path| writeln!(root, "hard - - {path} {first}").unwrap());
    }
}

/// Names that programs get wrong.
pub(crate) fn odd_names() -> Vec<Vec<u8>> {
    let names: [&[u8]; 17] = [
        b"new\nline",
        b"quote\"s'",
        b"invalid\xff\xfeutf",
        b"back\\slash",
        b"\x1b[31mred",
        b"-rf",
        b"--help",
        b"trailing ",
        b".vm2docker-self.0",
        b" leading",
        b"tab\t",
        b"...",
        b"\\x41",
        b"$(id)`id`",
        b"*?[a]{b}",
        b"\xe2\x80\xaereversed",
        b"#comment",
    ];
    let mut names: Vec<Vec<u8>> = names.iter().map(|name| name.to_vec()).collect();
    names.push(vec![b'n'; 255]);
    names.push(vec![0xff; 255]);
    names.push([vec![b'd'; 200], b"/".to_vec(), vec![b'e'; 200]].concat());
    names
}

fn names(base: &mut String, machine: &mut String) {
    for name in odd_names() {
        let word = |state: &str, kind: &str| {
            quote(&[b"/srv/names/", state.as_bytes(), b"/", kind.as_bytes(), b"/", &name[..]].concat())
        };
        let target = quote(&name);
        for (state, in_base, v) in [
            ("new", false, 1),
            ("same", true, 1),
            ("same", false, 1),
            ("changed", true, 2),
            ("changed", false, 1),
            ("gone", true, 1),
        ] {
            let root = if in_base { &mut *base } else { &mut *machine };
            *root += &format!("file 064{v} 0:0 {} \"content {v}\"\n", word(state, "f"));
            *root += &format!("dir 075{v} 0:0 {}\n", word(state, "d"));
            *root += &format!("hard - - {} {}\n", word(state, "h"), word(state, "f"));
            *root += &format!("link 0777 {v}:0 {} {target}\n", word(state, "l"));
        }
    }
}
