//! `apply` on a running system, which is a root in namespaces of its own.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use std::fs;
use support::tool::{Place, Ran, command, finish};

/// Enters the root `$1` with `/proc`, and with the context `$3` mounted at `/ctx`.
const ENTER: &str = "mount --bind \"$1\" \"$1\"; mount -t proc proc \"$1/proc\"; \
    mount --bind \"$3\" \"$1/ctx\"; cd \"$1\"; ";

/// Runs a script in a mount and a PID namespace of its own. Each script calls `apply` in a chroot,
/// so that it cannot change the system of the test.
fn in_namespaces(place: &Place, script: &str) -> Ran {
    let mut unshare = command("unshare");
    unshare.args(["--mount", "--pid", "--fork", "sh", "-ec", script, "-"]);
    unshare.arg(place.path("live")).arg(env!("CARGO_BIN_EXE_vm2docker-self")).arg(place.path("ctx"));
    finish(&mut unshare)
}

#[test]
fn apply_to_running_system_is_refused() {
    let place = Place::new();
    place.root("machine", "file 0644 0:0 /etc/os-release \"ID=debian\\nVERSION_ID=12\\n\"\n");
    place.convert("ctx", &["--base-from", "none"]).ends(0);
    place.root(
        "live",
        "file 0644 0:0 /home/database precious\nfile 0644 0:0 /usr/x x\nfile 0644 0:0 /etc/passwd x\n",
    );
    for name in ["proc", "ctx", "mnt/system/usr", "copy/etc"] {
        fs::create_dir_all(place.path("live").join(name)).unwrap();
    }
    for script in [
        "exec chroot . /ctx/vm2docker-self apply /ctx",
        // The right place, but not mounted there.
        "mkdir -p dev; cp -a \"$3\" dev/vm2docker-context; \
         exec chroot . /dev/vm2docker-context/vm2docker-self apply /dev/vm2docker-context",
        "mount --bind usr mnt/system/usr; exec chroot . /ctx/vm2docker-self apply /ctx --root /mnt",
        "mount --bind . mnt/system; exec chroot . /ctx/vm2docker-self apply /ctx --root /mnt",
        "ln etc/passwd copy/etc/passwd; exec chroot . /ctx/vm2docker-self apply /ctx --root /copy",
    ] {
        let ran = in_namespaces(&place, &format!("{ENTER}{script}"));
        ran.ends(20).says(&["would change the running system", "hint: "]);
        assert_eq!(fs::read(place.path("live/home/database")).unwrap(), b"precious", "{script}");
        assert_eq!(fs::read(place.path("live/usr/x")).unwrap(), b"x", "{script}");
    }
}
