//! The repositories of the build: a `.repo` file that dnf, dnf5, microdnf, yum and zypper read.

use super::config::{Location, Repository};
use crate::context::MOUNT;
use std::fmt::Write;

/// A repository for the build, with the names of its keys below `packages/keys`.
pub(in crate::pkg::rpm) struct Source<'a> {
    pub repository: &'a Repository,
    pub keys: &'a [String],
    /// Whether the context has the CA certificates of the machine.
    pub has_certificates: bool,
}

/// Returns the file. All values are checked text without variables and line breaks.
pub(in crate::pkg::rpm) fn write(sources: &[Source<'_>]) -> String {
    let mut text = String::new();
    for Source { repository, keys, has_certificates } in sources {
        let (option, value) = match &repository.location {
            Location::Base(urls) => ("baseurl", urls.join(" ")),
            Location::MirrorList(url) => ("mirrorlist", url.clone()),
            Location::Metalink(url) => ("metalink", url.clone()),
        };
        let id = &repository.id;
        let number = u8::from;
        // The build requests exact versions, so the filter of module streams must not hide one
        // (dnf.conf(5), "module_hotfixes").
        let _ = write!(
            text,
            "[{id}]\nname={id}\n{option}={value}\nenabled=1\ngpgcheck={}\nrepo_gpgcheck={}\n\
             module_hotfixes=1\nskip_if_unavailable=0\n",
            number(repository.gpgcheck),
            number(repository.repo_gpgcheck),
        );
        if !repository.sslverify {
            text.push_str("sslverify=0\n");
        } else if *has_certificates {
            let _ = writeln!(text, "sslcacert={MOUNT}/packages/ca-certificates.crt");
        }
        if !keys.is_empty() {
            let _ = writeln!(text, "gpgkey={}", keys.join(" "));
        }
        text.push('\n');
    }
    text
}
