use crate::model::holes::Coverage;
use crate::pkg::dpkg::provenance::*;
use crate::system::mounts::Mounts;
use crate::walk::{self, Progress, Scope};
use proptest::prelude::*;
use std::os::unix::fs::symlink;

/// A root with packages, the files that their scripts created, and local changes.
struct Fixture {
    top: tempfile::TempDir,
}

fn hex(content: &str) -> String {
    md5::Md5::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Fixture {
    fn new() -> Self {
        Fixture { top: tempfile::tempdir().unwrap() }
    }

    fn file(&self, path: &str, content: &str) {
        let path = self.top.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.top.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    fn directory(&self, path: &str) {
        std::fs::create_dir_all(self.top.path().join(path)).unwrap();
    }

    /// Installs a package that ships these files.
    fn package(&self, name: &str, files: &[(&str, &str)], postinst: &str) {
        let status = self.top.path().join("var/lib/dpkg/status");
        let before = std::fs::read_to_string(&status).unwrap_or_default();
        let stanza =
            format!("Package: {name}\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n\n");
        self.file("var/lib/dpkg/status", &(before + &stanza));
        for (path, content) in files {
            self.file(path, content);
        }
        let list: String = files.iter().map(|(path, _)| format!("/{path}\n")).collect();
        let sums: String =
            files.iter().map(|(path, content)| format!("{}  {path}\n", hex(content))).collect();
        self.file(&format!("var/lib/dpkg/info/{name}.list"), &list);
        self.file(&format!("var/lib/dpkg/info/{name}.md5sums"), &sums);
        self.file(&format!("var/lib/dpkg/info/{name}.postinst"), postinst);
    }

    fn found(&self) -> Vec<WalkedEntry> {
        let scope = Scope {
            policy: None,
            mounts: &Mounts::default(),
            ours: &[],
            claimed: &|_| None,
            coverage: &|_, _| Some(Coverage::All),
            content: &|_| true,
            published: &|_, _| false,
            progress: &Progress::default(),
        };
        walk::walk(&self.root(), &scope, 1).unwrap().found
    }

    fn root(&self) -> Root {
        Root::open(self.top.path()).unwrap()
    }

    /// Returns a function that shows the provenance of a path; adds all findings.
    fn look(&self, findings: &mut Findings) -> impl Fn(&str) -> String {
        let (root, found) = (self.root(), self.found());
        let catalog = crate::pkg::dpkg::database::load(&root, findings).unwrap();
        let generated = load(&root, &catalog, &found, findings);
        move |path: &str| {
            let index = found.iter().position(|found| *found.node.path == *path.as_bytes());
            let index = index.unwrap_or_else(|| panic!("{path} is not there"));
            generated.why(index).map_or("-".to_owned(), |number| generated.origin(number).to_string())
        }
    }
}

fn assert_all(look: impl Fn(&str) -> String, expected: &[(&str, &str)]) {
    for (path, said) in expected {
        assert_eq!(look(path), *said, "{path}");
    }
}

#[test]
fn load_configuration_files_are_attributed_by_ucf_templates_and_scripts() {
    let fixture = Fixture::new();
    fixture.package("openssh-server", &[("usr/share/openssh/sshd_config", "Port 22\n")], "");
    fixture.package(
        "base-files",
        &[("usr/share/base-files/dot.bashrc", "# bash\n"), ("usr/share/base-files/profile", "# profile\n")],
        "install_directory mnt 755 root\ninstall_directory etc/opt 755 root\nln -s ../mail \"$DPKG_ROOT/var/spool/mail\"\n",
    );
    let networks = "if ! [ -e /etc/networks ]; then cat > /etc/networks <<-EOF\n\tdefault\t0.0.0.0\nEOF\nfi\ntouch /etc/environment\n";
    fixture.package("netbase", &[], networks);
    fixture.package(
        "nginx-common",
        &[("usr/share/nginx/html/index.html", "<html>\n")],
        "cp x /var/www/html/index.debian.html",
    );
    let hashes = format!("{}  /etc/ssh/sshd_config\n{}  /etc/app/edited\n", hex("Port 22\n"), hex("made\n"));
    fixture.file("var/lib/ucf/hashfile", &hashes);
    fixture.file("var/lib/ucf/registry", "openssh-server \t /etc/ssh/sshd_config\n");
    for (path, content) in [
        ("etc/ssh/sshd_config", "Port 22\n"),
        ("etc/app/edited", "made, then edited\n"),
        ("root/.bashrc", "# bash\n"),
        ("etc/profile", "# profile, edited\n"),
        ("etc/networks", "default\t0.0.0.0\n"),
        ("etc/environment", ""),
        ("etc/empty", ""),
        ("var/www/html/index.debian.html", "<html>\n"),
        ("var/www/html/own.html", "<html>\n"),
        ("etc/app/own.conf", "a = b\n"),
    ] {
        fixture.file(path, content);
    }
    ["mnt", "etc/opt", "opt"].into_iter().for_each(|path| fixture.directory(path));
    fixture.link("var/spool/mail", "../mail");
    assert_all(
        fixture.look(&mut Findings::default()),
        &[
            ("etc/ssh/sshd_config", "created by package openssh-server (ucf), unchanged"),
            ("etc/ssh", "created by package openssh-server (ucf)"),
            ("etc/app/edited", "changed since package scripts created it (ucf)"),
            ("etc/app/own.conf", "-"),
            ("etc/app", "-"),
            ("root/.bashrc", "created by package base-files (template), unchanged"),
            ("etc/profile", "-"),
            ("etc/networks", "created by package netbase (postinst), unchanged"),
            ("etc/environment", "created by package netbase (postinst), unchanged"),
            ("etc/empty", "-"),
            ("var/www/html/index.debian.html", "created by package nginx-common (template), unchanged"),
            ("var/www/html/own.html", "-"),
            ("mnt", "created by package base-files (postinst)"),
            ("etc/opt", "created by package base-files (postinst)"),
            ("var/spool/mail", "created by package base-files (postinst)"),
            ("var/lib/dpkg/info/netbase.list", "created by package scripts (dpkg)"),
            ("usr/share/nginx", "created by package scripts (dpkg)"),
        ],
    );
}

const UNITS: &[(&str, &str)] = &[
    (
        "etc/systemd/system/multi-user.target.wants/ssh.service",
        "created by package daemons (deb-systemd-helper)",
    ),
    ("etc/systemd/system/multi-user.target.wants", "created by package daemons (deb-systemd-helper)"),
    ("etc/systemd/system/sshd.service", "-"),
    ("etc/systemd/system/sysinit.target.wants/nftables.service", "-"),
    (
        "etc/systemd/system/getty.target.wants/getty@tty1.service",
        "created by package daemons (systemd.preset)",
    ),
    ("etc/systemd/system/multi-user.target.wants/own.service", "-"),
    ("etc/systemd/system/own.service", "-"),
];

#[test]
fn load_unit_links_are_attributed_by_deb_systemd_helper() {
    let fixture = Fixture::new();
    let units = ["ssh", "cron", "getty@", "nftables"]
        .map(|unit| (format!("usr/lib/systemd/system/{unit}.service"), "[Unit]\n"));
    let units: Vec<(&str, &str)> = units.iter().map(|(path, content)| (path.as_str(), *content)).collect();
    fixture.package("daemons", &units, "");
    fixture.package("systemd", &[("usr/lib/systemd/system-preset/90.preset", "enable getty@.service\n")], "");
    let state = "var/lib/systemd/deb-systemd-helper-enabled";
    for (unit, links) in [
        (
            "ssh",
            "/etc/systemd/system/sshd.service\n/etc/systemd/system/multi-user.target.wants/ssh.service\n",
        ),
        ("cron", "/etc/systemd/system/multi-user.target.wants/cron.service\n"),
        ("nftables", "/etc/systemd/system/sysinit.target.wants/nftables.service\n"),
        ("removed", "/etc/systemd/system/multi-user.target.wants/removed.service\n"),
    ] {
        fixture.file(&format!("{state}/{unit}.service.dsh-also"), links);
    }
    for link in [
        "sshd",
        "multi-user.target.wants/ssh",
        "multi-user.target.wants/cron",
        "multi-user.target.wants/removed",
    ] {
        fixture.file(&format!("{state}/{link}.service"), "");
    }
    let system = "etc/systemd/system";
    for (link, target) in [
        ("multi-user.target.wants/ssh.service", "/lib/systemd/system/ssh.service"),
        ("sshd.service", "/dev/null"),
        ("sysinit.target.wants/nftables.service", "/lib/systemd/system/nftables.service"),
        ("getty.target.wants/getty@tty1.service", "/usr/lib/systemd/system/getty@.service"),
        ("multi-user.target.wants/own.service", "/etc/systemd/system/own.service"),
    ] {
        fixture.link(&format!("{system}/{link}"), target);
    }
    fixture.file(&format!("{system}/own.service"), "[Service]\n");
    let mut findings = Findings::default();
    assert_all(fixture.look(&mut findings), UNITS);
    let disabled: Vec<(String, String)> = findings
        .sorted()
        .into_iter()
        .filter(|finding| finding.kind == crate::model::findings::Kind::Disabled)
        .map(|finding| (String::from_utf8(finding.path.to_vec()).unwrap(), finding.text.clone()))
        .collect();
    let text = "package daemons enabled this unit; the administrator disabled it".to_owned();
    assert_eq!(disabled, [("etc/systemd/system/multi-user.target.wants/cron.service".to_owned(), text)]);
}

/// Links of tools, and one local link next to them.
const LINKS: &[(&str, &str)] = &[
    ("etc/rc2.d/S01cron", "../init.d/cron"),
    ("etc/rc2.d/S02own", "../init.d/own"),
    ("etc/ssl/certs/A.pem", "/usr/share/ca-certificates/mozilla/A.crt"),
    ("etc/ssl/certs/00000000.0", "A.pem"),
    ("etc/ssl/certs/Own.pem", "/usr/local/share/ca-certificates/Own.crt"),
    ("etc/ssl/certs/11111111.0", "Own.pem"),
    ("etc/apache2/mods-enabled/ssl.load", "../mods-available/ssl.load"),
    ("etc/apache2/mods-enabled/php.load", "../mods-available/php.load"),
    ("etc/php/8.2/cli/conf.d/20-curl.ini", "/etc/php/8.2/mods-available/curl.ini"),
    ("etc/php/8.2/cli/conf.d/20-own.ini", "/etc/php/8.2/mods-available/own.ini"),
    ("etc/localtime", "/usr/share/zoneinfo/Europe/Vienna"),
    ("etc/all.conf", "b"),
    ("etc/own.conf", "b"),
];

const FILES: &[(&str, &str)] = &[
    ("var/lib/apache2/module/enabled_by_maint/ssl", ""),
    ("var/lib/php/modules/8.2/cli/enabled_by_maint/curl", ""),
    ("etc/ssl/certs/ca-certificates.crt", "A\n"),
    ("etc/ssl/certs/site.pem", "site\n"),
    ("usr/lib/python3/dist-packages/__pycache__/mod.cpython-311.pyc", "x"),
    ("usr/lib/python3/dist-packages/__pycache__/own.cpython-311.pyc", "x"),
    ("opt/app/__pycache__/app.cpython-311.pyc", "x"),
    ("etc/apparmor.d/local/usr.bin.all", ""),
    ("etc/shells", "# shells\n/usr/bin/bash\n"),
    ("etc/timezone", "Europe/Vienna\n"),
    ("etc/ca-certificates.conf", "mozilla/A.crt\n!mozilla/B.crt\n"),
];

const EXPECTED: &[(&str, &str)] = &[
    ("etc/rc2.d/S01cron", "created by package all (update-rc.d)"),
    ("etc/rc2.d/S02own", "-"),
    ("etc/ssl/certs/A.pem", "created by package all (update-ca-certificates)"),
    ("etc/ssl/certs/00000000.0", "created by package all (update-ca-certificates)"),
    ("etc/ssl/certs/Own.pem", "-"),
    ("etc/ssl/certs/11111111.0", "-"),
    ("etc/ssl/certs/site.pem", "-"),
    ("etc/ssl/certs/ca-certificates.crt", "created by package scripts (update-ca-certificates)"),
    ("etc/apache2/mods-enabled/ssl.load", "created by package all (a2enmod)"),
    ("etc/apache2/mods-enabled/php.load", "-"),
    ("etc/php/8.2/cli/conf.d/20-curl.ini", "created by package scripts (phpenmod)"),
    ("etc/php/8.2/cli/conf.d/20-own.ini", "-"),
    ("etc/localtime", "-"),
    ("usr/lib/python3/dist-packages/__pycache__/mod.cpython-311.pyc", "created by package all (py3compile)"),
    ("usr/lib/python3/dist-packages/__pycache__/own.cpython-311.pyc", "-"),
    ("usr/lib/python3/dist-packages/__pycache__", "created by package all (py3compile)"),
    ("opt/app/__pycache__/app.cpython-311.pyc", "-"),
    ("opt/app/__pycache__", "-"),
    ("etc/apparmor.d/local/usr.bin.all", "created by package all (dh_apparmor), unchanged"),
    ("etc/shells", "created by package debianutils (update-shells), unchanged"),
    ("etc/timezone", "changed since package tzdata created it (debconf)"),
    ("etc/ca-certificates.conf", "changed since package ca-certificates created it (debconf)"),
    ("var/lib/all", "created by package all (tmpfiles.d)"),
    ("etc/all.conf", "created by package all (tmpfiles.d)"),
    ("etc/own.conf", "-"),
    ("var/lib/made", "created by package all (postinst)"),
    ("var/lib/own", "-"),
];

#[test]
fn load_other_links_and_caches_are_attributed_to_packages() {
    let fixture = Fixture::new();
    fixture.package(
        "all",
        &[
            ("etc/init.d/cron", "#!/bin/sh\n"),
            ("usr/share/ca-certificates/mozilla/A.crt", "A\n"),
            ("usr/lib/python3/dist-packages/mod.py", "pass\n"),
            ("etc/apache2/mods-available/ssl.load", "LoadModule\n"),
            ("etc/apache2/mods-available/php.load", "LoadModule\n"),
            (
                "usr/lib/tmpfiles.d/all.conf",
                "d /var/lib/all 0755 root root -\nL /etc/own.conf - - - - a\nL /etc/all.conf - - - - b\n",
            ),
            ("etc/apparmor.d/usr.bin.all", "profile\n"),
            ("usr/bin/bash", ""),
        ],
        "mkdir -p /var/lib/made",
    );
    LINKS.iter().for_each(|(path, target)| fixture.link(path, target));
    FILES.iter().for_each(|(path, content)| fixture.file(path, content));
    ["var/lib/all", "var/lib/made", "var/lib/own"].into_iter().for_each(|path| fixture.directory(path));
    assert_all(fixture.look(&mut Findings::default()), EXPECTED);
}

/// Hostile records must neither cause a panic nor attribute a local file to a package.
#[test]
fn load_invalid_records_are_ignored() {
    proptest!(ProptestConfig::with_cases(24), |(garbage in prop::collection::vec(any::<u8>(), 0..200))| {
        let fixture = Fixture::new();
        fixture.package("all", &[("usr/lib/systemd/system/a.service", "[Unit]\n")], "");
        for path in [
            "var/lib/ucf/hashfile",
            "var/lib/ucf/registry",
            "var/lib/systemd/deb-systemd-helper-enabled/a.service.dsh-also",
            "usr/lib/tmpfiles.d/a.conf",
            "usr/share/pam/common-auth",
            "var/lib/pam/auth",
            "etc/passwd",
        ] {
            fixture.file(path, "");
            std::fs::write(fixture.top.path().join(path), &garbage).unwrap();
        }
        fixture.file("etc/pam.d/common-auth", "auth required pam_unix.so\n");
        fixture.file("srv/own", "own\n");
        prop_assert_eq!(fixture.look(&mut Findings::default())("srv/own"), "-");
    });
}
