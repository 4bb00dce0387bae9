//! `SECRETS.todo`: the files that are not in the image because they are secret, by the service that
//! needs them, and the commands that provide them.

use crate::model::escape;
use crate::model::manifest::{Record, Verdict};
use crate::model::tree::Kind;
use crate::services::model::{Service, Variable, Workload};
use crate::walk::Tree;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The first lines.
const HEAD: &str = "\
# Files of the machine that are not in the image because they are secret, by the service that needs them.
#
# 1. Copy them to secrets/: as root, with bash, on the machine, in a directory with this file. from= stays empty there;
#    on another host it is the directory with the decrypted files of --include-secrets.
#      from=
#      umask 077 && mkdir -p secrets
#      grep '^/' SECRETS.todo | while IFS=$'\\t' read -r path mode owner reason name; do
#        printf -v file %b \"$path\"
#        [ \"$name\" = - ] || install -o \"${owner%:*}\" -g \"${owner#*:}\" -m \"$mode\" -- \"$from$file\" \"secrets/$name\"
#      done
#      tar --numeric-owner -cf secrets.tar secrets
# 2. Unpack secrets.tar: as root, on the container host, in the directory of compose.yaml. Compose reads secrets/.
#    Then remove secrets/ and secrets.tar from the machine.
#      tar --numeric-owner -xpf secrets.tar
#    Podman (quadlet/):
#      for file in secrets/*; do podman secret create \"${file#secrets/}\" \"$file\"; done
#    Kubernetes:
#      for file in secrets/*; do kubectl create secret generic \"file--${file#secrets/}\" --from-file=content=\"$file\"; done
#
# A line of --policy, such as \"keep PATH\", includes a file that is not secret.
#
# PATH\tMODE\tUID:GID\tREASON\tNAME
";

/// Section of the README about encrypted secrets in the context.
pub(super) const README: &str = "
## Encrypted secrets

`secrets.tar.gpg` contains the withheld files, encrypted to the OpenPGP key of `--include-secrets`. The build does not use it.
Decrypt it on the container host, then run the first step in `SECRETS.todo` with `from=decrypted`:

    umask 077 && mkdir decrypted
    gpg --decrypt secrets.tar.gpg | tar --extract --preserve-permissions --numeric-owner --directory decrypted
";

/// A file that is not in the image.
pub(super) struct Withheld {
    path: Vec<u8>,
    /// UID, GID and mode of the file, or of the file that the symbolic link leads to.
    owner: (u32, u32, u16),
    reason: String,
}

impl Withheld {
    /// Returns the file of a record if it is withheld.
    pub(super) fn of(record: &Record, tree: &Tree) -> Option<Self> {
        let node = &record.node;
        if record.verdict != Verdict::Withhold || node.kind == Kind::Directory {
            return None;
        }
        // The mode of a link is 0777.
        let target = tree.resolve(&node.path).filter(|_| matches!(node.kind, Kind::Symlink(_)));
        let stat = target.map_or(&node.stat, |target| &tree.found[target].node.stat);
        let owner = (stat.uid, stat.gid, stat.mode);
        Some(Withheld { path: node.path.to_vec(), owner, reason: record.reason.clone() })
    }

    /// Returns the line of the file. `name` is that of the secret in container definitions.
    fn line(&self, name: &str) -> String {
        let (uid, gid, mode) = self.owner;
        let (path, reason) = (escape::display(&self.path), escape::escape(self.reason.as_bytes()));
        format!("{path}\t{mode:04o}\t{uid}:{gid}\t{reason}\t{name}\n")
    }
}

/// Returns the text of `SECRETS.todo`.
pub(super) fn todo(files: &[Withheld], workload: &Workload) -> String {
    let mut text = HEAD.to_owned();
    for service in workload.services.iter().filter(|service| !service.secrets.is_empty()) {
        let names: Vec<&str> = service.secrets.iter().map(Variable::as_str).collect();
        let _ = writeln!(text, "#\n# Variables that {} needs, for .env: {}", service.name, names.join(", "));
    }
    let needed = workload.secret_files.iter().enumerate().map(|(index, file)| (&file.path[1..], index));
    let needed: BTreeMap<&[u8], usize> = needed.collect();
    let mut groups: BTreeMap<Vec<&str>, String> = BTreeMap::new();
    for file in files {
        let index = needed.get(&*file.path).copied();
        let users = |index: usize| {
            let services =
                workload.services.iter().filter(move |service| service.secret_files.contains(&index));
            services.map(|service: &Service| service.name.as_str()).collect()
        };
        let name = index.map_or("-", |index| workload.secret_files[index].name.as_str());
        *groups.entry(index.map(users).unwrap_or_default()).or_default() += &file.line(name);
    }
    let unneeded = groups.remove(&Vec::new());
    for (services, lines) in groups {
        let _ = write!(text, "#\n# Needed by {}:\n{lines}", services.join(", "));
    }
    if let Some(lines) = unneeded {
        text += "#\n# Needed by no service; mount those that you need (docker run --mount type=bind,readonly,source=FILE,target=PATH):\n";
        text += &lines;
    }
    text
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test runs the commands of the text")]
mod tests {
    use super::*;
    use crate::services::model::{Name, SecretFile};
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn withheld(path: &[u8]) -> Withheld {
        Withheld { path: path.to_vec(), owner: (7, 8, 0o640), reason: "private key".to_owned() }
    }

    fn needed(paths: &[&[u8]]) -> Workload {
        let file = |path: &&[u8]| SecretFile {
            name: Name::from_bytes(path),
            path: [b"/", *path].concat(),
            owner: (7, 8, 0o640),
        };
        Workload { secret_files: paths.iter().map(file).collect(), ..Workload::default() }
    }

    #[test]
    fn todo_without_files_has_only_the_head() {
        assert_eq!(todo(&[], &Workload::default()), HEAD);
        let text = todo(&[withheld(b"etc/key")], &Workload::default());
        assert!(text.ends_with(":\n/etc/key\t0640\t7:8\tprivate key\t-\n"), "{text}");
    }

    /// The commands of the first step copy each file with owner and mode, whatever its name is.
    #[test]
    fn todo_commands_copy_files_with_any_name() {
        let paths: [&[u8]; 6] = [b"etc/key", b"a b'c", b"back\\slash", b"new\nline\n", b"-x", b"\xff\\x41\t"];
        let place = tempfile::tempdir().unwrap();
        let machine = place.path().join("machine");
        for path in paths {
            let file = machine.join(std::ffi::OsStr::from_bytes(path));
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, path).unwrap();
        }
        let workload = needed(&paths);
        let files: Vec<Withheld> =
            paths.iter().map(|path| withheld(path)).chain([withheld(b"none")]).collect();
        let text = todo(&files, &workload);
        std::fs::write(place.path().join("SECRETS.todo"), &text).unwrap();
        let commands = text.lines().filter_map(|line| line.strip_prefix("#      ")).take(7);
        let script = commands.map(|line| if line == "from=" { "from=machine/" } else { line });
        let script = script.collect::<Vec<_>>().join("\n");
        let mut bash = std::process::Command::new("bash");
        assert!(
            bash.args(["-euc", &script]).current_dir(place.path()).status().unwrap().success(),
            "{script}"
        );
        for secret in &workload.secret_files {
            let copy = place.path().join("secrets").join(secret.name.as_str());
            assert_eq!(std::fs::read(&copy).unwrap(), secret.path[1..]);
            let stat = std::fs::metadata(&copy).unwrap();
            assert_eq!((stat.uid(), stat.gid(), stat.permissions().mode() & 0o7777), (7, 8, 0o640));
        }
        assert_eq!(std::fs::read_dir(place.path().join("secrets")).unwrap().count(), paths.len());
    }
}
