//! Configuration files whose content follows from other files of the machine, and constant
//! defaults.

use crate::pkg::provenance::input::ProvenanceInput;
use crate::pkg::provenance::{ContentState, Provenance};

/// Compares a file with the content that its tool creates from the other files. `None` if no tool
/// here creates it.
pub(super) fn judge(machine: &ProvenanceInput<'_>, path: &[u8], content: &[u8]) -> Option<Provenance> {
    let named = |package: &str| Some(package.to_owned());
    let (package, how, is_default) = match path {
        b"etc/shells" => (named("debianutils"), "update-shells", shells(machine, content)),
        b"etc/ca-certificates.conf" => (named("ca-certificates"), "debconf", certificates(machine, content)),
        b"etc/default/locale" | b"etc/locale.conf" | b"etc/locale.gen" => {
            (named("locales"), "debconf", sets_nothing(content))
        }
        b"etc/timezone" => (named("tzdata"), "debconf", content.trim_ascii() == b"Etc/UTC"),
        b"etc/python3/debian_config" => (named("python3-minimal"), "postinst", content == PYTHON),
        _ => match path.strip_prefix(b"etc/pam.d/common-") {
            Some(stack) => (named("libpam-runtime"), "pam-auth-update", pam(machine, stack, content)?),
            None => {
                // dh_apparmor creates an empty local file for each profile.
                let profile = [b"etc/apparmor.d/", path.strip_prefix(b"etc/apparmor.d/local/")?].concat();
                (Some(machine.owner(&profile)?), "dh_apparmor", sets_nothing(content))
            }
        },
    };
    let state = if is_default { ContentState::Unchanged } else { ContentState::Changed };
    Some(Provenance::new(package, how, state))
}

/// Content that the `postinst` of python3-minimal writes.
const PYTHON: &[u8] =
    b"[DEFAULT]\n# how to byte-compile (comma separated: standard, optimize)\nbyte-compile = standard\n";

fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = content.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"))
}

fn sets_nothing(content: &[u8]) -> bool {
    lines(content).next().is_none()
}

/// Whether all shells are packaged, under any name of the merged `/usr`.
fn shells(machine: &ProvenanceInput<'_>, content: &[u8]) -> bool {
    lines(content).all(|line| {
        let Some(path) = line.strip_prefix(b"/") else { return false };
        machine.owner(path).is_some() || machine.owner(&[b"usr/", path].concat()).is_some()
    })
}

/// Whether all certificates are packaged, and none is disabled with `!`.
fn certificates(machine: &ProvenanceInput<'_>, content: &[u8]) -> bool {
    lines(content).all(|line| machine.owner(&[b"usr/share/ca-certificates/", line].concat()).is_some())
}

/// Whether the content is the stack that pam-auth-update creates: its template with the recorded
/// modules in the template's two blocks.
fn pam(machine: &ProvenanceInput<'_>, stack: &[u8], content: &[u8]) -> Option<bool> {
    let template = machine.find(&[b"usr/share/pam/common-", stack].concat())?;
    let template = machine.root.read(&template.node.path).ok()?;
    let record = machine.root.read(&[b"var/lib/pam/", stack].concat()).ok()?;
    Some(pam_modules(&template, content).is_some_and(|modules| modules == recorded_modules(&record)))
}

/// Returns the modules of a stack with their options, in order. `None` if other lines differ from
/// the template.
fn pam_modules(template: &[u8], content: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut modules = Vec::new();
    let mut written = content.split(|&byte| byte == b'\n').peekable();
    let mut wanted = template.split(|&byte| byte == b'\n').peekable();
    while let Some(line) = wanted.next() {
        if !line.starts_with(b"$") {
            (written.next()? == line).then_some(())?;
            continue;
        }
        // A block contains all lines up to the template's next line.
        while let Some(line) = written.next_if(|line| wanted.peek() != Some(line)) {
            modules.extend(module(line));
        }
    }
    written.next().is_none().then_some(modules)
}

/// Parses `auth [success=1 default=ignore] pam_unix.so nullok` into the module and its options.
/// The line that keeps an empty block from failing is not recorded, so it is skipped.
fn module(line: &[u8]) -> Option<Vec<u8>> {
    let at = memchr::memmem::find(line, b"pam_")?;
    let module = line[at..].trim_ascii();
    let is_filler = module == b"pam_permit.so" && memchr::memmem::find(line, b"[default=").is_some();
    (!is_filler).then(|| module.to_vec())
}

/// Parses `/var/lib/pam/auth`: `Module: NAME`, then lines of control and module.
fn recorded_modules(record: &[u8]) -> Vec<Vec<u8>> {
    record
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.starts_with(b"Module:"))
        .filter_map(module)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Excerpt of the template of libpam-runtime 1.5.2 on Debian 12.
    const TEMPLATE: &[u8] = b"# common-session\n# the \"Primary\" block\n$session_primary\n# fallback\nsession\trequisite\tpam_deny.so\n$session_additional\n# end\n";
    const RECORD: &[u8] =
        b"Module: unix\nrequired\tpam_unix.so \nModule: mkhomedir\noptional\t\t\tpam_mkhomedir.so\n";

    #[test]
    fn pam_template_with_recorded_modules_is_unchanged() {
        let made = |modules: &str| {
            format!(
                "# common-session\n# the \"Primary\" block\nsession\t[default=1]\t\t\tpam_permit.so\n# fallback\nsession\trequisite\tpam_deny.so\n{modules}# end\n"
            )
        };
        let recorded = recorded_modules(RECORD);
        for (content, pristine) in [
            (made("session\trequired\tpam_unix.so \nsession\toptional\t\t\tpam_mkhomedir.so\n"), true),
            (made("session\trequired\tpam_unix.so debug\nsession\toptional\tpam_mkhomedir.so\n"), false),
            (made("session\trequired\tpam_unix.so\n"), false),
            (
                made("session\trequired\tpam_unix.so\nsession\toptional\tpam_mkhomedir.so\n")
                    + "session required pam_x.so\n",
                false,
            ),
            (
                made("session\trequired\tpam_unix.so\nsession\toptional\tpam_mkhomedir.so\n")
                    .replace("requisite", "optional"),
                false,
            ),
            (String::new(), false),
        ] {
            assert_eq!(
                pam_modules(TEMPLATE, content.as_bytes()).is_some_and(|found| found == recorded),
                pristine,
                "{content}"
            );
        }
    }

    #[test]
    fn sets_nothing_comments_and_empty_lines_are_ignored() {
        assert!(sets_nothing(b"") && sets_nothing(b"# File generated by update-locale\n\n"));
        assert!(!sets_nothing(b"#\nLANG=de_AT.UTF-8\n"));
    }
}
