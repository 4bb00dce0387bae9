//! Whatever the mount table and root: no panic; every point is relative and found under its own name.
//! A mount is foreign exactly if its class is not local.
//! Reading the same table twice over changes nothing: of mounts over each other the last one counts.
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
