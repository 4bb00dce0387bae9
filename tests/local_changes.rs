//! Converts a stopped machine whose packaged files have local changes: jobs of cron and units of
//! the operating system.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use support::tool::Place;

/// A machine with cron, as its packages installed it.
const MACHINE: &str = r##"
file 0644 0:0 /usr/lib/os-release "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"
file 0644 0:0 /etc/debian_version "12.5\n"
file 0644 0:0 /etc/passwd "root:x:0:0:root:/root:/bin/sh\n"
file 0644 0:0 /etc/group "root:x:0:\n"
file 0644 0:0 /var/lib/dpkg/status "Package: cron\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\nConffiles:\n /etc/crontab d5e039996635d5375c681207e7fa1350\n /etc/cron.d/report d5e039996635d5375c681207e7fa1350\n /etc/cron.daily/rotate 6c38b3a1bb37623fe3fdb6ba7fde5466\n\n"
file 0644 0:0 /var/lib/dpkg/info/cron.list "/.\n/etc\n/etc/crontab\n/etc/cron.d\n/etc/cron.d/report\n/etc/cron.daily\n/etc/cron.daily/rotate\n/etc/cron.daily/link\n/usr\n/usr/sbin\n/usr/sbin/cron\n/usr/sbin/rotate\n/usr/lib/systemd/system/cron.service\n/usr/lib/systemd/system/rsyslog.service\n"
file 0644 0:0 /var/lib/dpkg/info/cron.md5sums "6c38b3a1bb37623fe3fdb6ba7fde5466  usr/sbin/rotate\n4026c2154be29863e3a79d0e65bd76e4  usr/lib/systemd/system/cron.service\n86be057e3ec45485b8de5f22d3bd5440  usr/lib/systemd/system/rsyslog.service\n"
file 0644 0:0 /etc/crontab "SHELL=/bin/sh\n17 * * * * root run-parts /etc/cron.hourly\n"
file 0644 0:0 /etc/cron.d/report "SHELL=/bin/sh\n17 * * * * root run-parts /etc/cron.hourly\n"
file 0755 0:0 /etc/cron.daily/rotate "#!/bin/sh\ntrue\n"
link 0777 0:0 /etc/cron.daily/link ../../usr/sbin/rotate
file 0755 0:0 /usr/sbin/rotate "#!/bin/sh\ntrue\n"
file 0755 0:0 /usr/sbin/cron "cron\n"
file 0644 0:0 /usr/lib/systemd/system/cron.service "[Service]\nExecStart=/usr/sbin/cron -f\n"
file 0644 0:0 /usr/lib/systemd/system/rsyslog.service "[Service]\nExecStart=/usr/sbin/rsyslogd -n\n"
file 0644 0:0 /usr/lib/systemd/system/multi-user.target "[Unit]\n"
link 0777 0:0 /etc/systemd/system/default.target /usr/lib/systemd/system/multi-user.target
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/cron.service /usr/lib/systemd/system/cron.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/rsyslog.service /usr/lib/systemd/system/rsyslog.service
"##;

/// Converts the machine after a change and returns the workload.
fn workload(change: impl FnOnce(&Path)) -> Value {
    let place = Place::new();
    change(&place.root("machine", MACHINE));
    place.convert("ctx", &["--base-from", "none", "--compress", "none"]).ends(0);
    let plan: Value = serde_json::from_slice(&fs::read(place.path("ctx/plan.json")).unwrap()).unwrap();
    plan["workload"].clone()
}

fn append(path: &Path, text: &str) {
    fs::write(path, fs::read_to_string(path).unwrap() + text).unwrap();
}

fn services(workload: &Value) -> Vec<&str> {
    workload["services"].as_array().unwrap().iter().map(|service| service["name"].as_str().unwrap()).collect()
}

/// Returns the evidence of all issues of a kind.
fn evidence(workload: &Value, kind: &str) -> String {
    let issues = workload["compatibility"].as_array().unwrap().iter();
    let issues = issues.filter(|issue| issue["kind"] == kind);
    issues.map(|issue| issue["evidence"].as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

#[test]
fn convert_unchanged_packaged_jobs_run_in_no_container() {
    let workload = workload(|_| {});
    assert!(services(&workload).is_empty(), "{workload}");
    assert!(workload["skipped"].to_string().contains("cron.service"), "{workload}");
    assert_eq!(evidence(&workload, "cron"), "");
}

#[test]
fn convert_job_in_changed_packaged_file_runs_in_container() {
    for file in ["etc/crontab", "etc/cron.d/report", "etc/cron.daily/rotate"] {
        let workload = workload(|machine| append(&machine.join(file), "*/5 * * * * root /opt/app/job\n"));
        assert_eq!(services(&workload), ["cron"], "{file}");
        assert!(evidence(&workload, "cron").contains(file), "{workload}");
    }
}

#[test]
fn convert_packaged_link_to_changed_script_runs_in_container() {
    let workload = workload(|machine| {
        let link = machine.join("etc/cron.daily/link");
        fs::remove_file(&link).unwrap();
        fs::create_dir_all(machine.join("opt")).unwrap();
        fs::write(machine.join("opt/job"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(machine.join("opt/job"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("/opt/job", link).unwrap();
    });
    assert_eq!(services(&workload), ["cron"]);
    assert!(evidence(&workload, "cron").contains("etc/cron.daily/link"), "{workload}");
}

#[test]
fn convert_changed_anacrontab_is_reported() {
    let workload = workload(|machine| {
        fs::write(machine.join("etc/anacrontab"), "1 5 app /opt/app/job\n").unwrap();
    });
    assert!(evidence(&workload, "cron").contains("/etc/anacrontab"), "{workload}");
}

#[test]
fn convert_system_unit_with_local_changes_is_reported() {
    assert_eq!(evidence(&workload(|_| {}), "local-change"), "");
    let changed = workload(|machine| {
        let directory = machine.join("etc/systemd/system/rsyslog.service.d");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("job.conf"), "[Service]\nExecStartPost=/opt/app/job\n").unwrap();
    });
    let text = evidence(&changed, "local-change");
    assert!(text.contains("rsyslog.service") && text.contains("/rsyslog.service.d/job.conf"), "{changed}");
}
