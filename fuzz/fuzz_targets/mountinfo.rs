//! Any mount table and root: no panic, and every mount point is relative and found by its name.
//! A mount is foreign if and only if its class is not local.
//! Parsing the table twice in a row changes nothing, because the last of several mounts on a path
//! counts.
#![no_main]

use vm2docker_self::system::mounts;
use vm2docker_self::system::mounts::Class;

libfuzzer_sys::fuzz_target!(|input: (&[u8], &[u8])| {
    let (table, root) = input;
    for root in [b"/".as_slice(), root] {
        let mounts = mounts::parse(table, root);
        for mount in mounts.iter() {
            assert_eq!(mounts.at(&mount.point), Some(mount));
            assert_eq!(mounts.foreign_at(&mount.point).is_some(), mount.class != Class::Local);
        }
        assert_eq!(mounts::parse(&[table, b"\n", table].concat(), root), mounts);
    }
});
