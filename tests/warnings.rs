//! A result that is worse than it could be has a warning, last on the screen.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use support::tool::{Place, run};

const DEBIAN: &str = r##"
file 0644 0:0 /usr/lib/os-release "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n"
file 0644 0:0 /etc/passwd "root:x:0:0:root:/root:/bin/sh\n"
file 0644 0:0 /etc/group "root:x:0:\n"
file 0644 0:0 /var/lib/dpkg/status "Package: app\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n"
file 0644 0:0 /var/lib/dpkg/info/app.list "/.\n"
file 0644 0:0 /etc/apt/sources.list "deb http://archive.example.org/debian bookworm main\n"
"##;
const UNKNOWN: &str = r##"
file 0644 0:0 /etc/os-release "ID=homegrown\nVERSION_ID=1\n"
file 0644 0:0 /etc/passwd "root:x:0:0:root:/root:/bin/sh\n"
file 0644 0:0 /etc/group "root:x:0:\n"
"##;

/// Converts the machine and returns the warnings, which are the last lines of the output.
fn warnings(machine: &str, arguments: &[&str]) -> Vec<String> {
    let place = Place::new();
    place.root("machine", machine);
    let run = place.convert("ctx", arguments).ends(0);
    let findings = std::fs::read_to_string(place.path("ctx/findings.jsonl")).unwrap();
    let lines: Vec<&str> = run.err.lines().collect();
    let start = lines.iter().position(|line| line.starts_with("warning: ")).unwrap_or(lines.len());
    let warnings: Vec<String> = lines[start..].iter().map(|line| (*line).to_owned()).collect();
    assert!(warnings.iter().all(|line| line.starts_with("warning: ")), "{}", run.err);
    assert_eq!(findings.matches("\"severity\":\"warning\"").count(), warnings.len(), "{findings}");
    warnings
}

#[test]
fn convert_of_each_degraded_result_warns() {
    let container = format!("{UNKNOWN}file 0644 0:0 /.dockerenv \"\"\n");
    for (machine, arguments, expected) in [
        (UNKNOWN, &[][..], &["FROM scratch, because no official image is known"][..]),
        ("file 0644 0:0 /data \"x\"\n", &[], &["FROM scratch", "/etc/os-release", "no operating system"]),
        (&container, &["--base", "scratch"], &["this is a container (/.dockerenv exists)"]),
        (DEBIAN, &["--offline"], &["contents unknown (--offline)", "no package lists"]),
        (DEBIAN, &["--offline", "--base-from", "none", "--packages", "carry"], &[]),
    ] {
        let warnings = warnings(machine, arguments);
        assert_eq!(warnings.len(), expected.len(), "{warnings:#?}");
        for text in expected {
            assert!(warnings.iter().any(|line| line.contains(text)), "no {text:?} in {warnings:#?}");
        }
    }
}

#[test]
fn inspect_names_the_image_that_a_conversion_uses() {
    for (machine, image) in [
        (DEBIAN, "debian:12"),
        (UNKNOWN, "scratch"),
        ("file 0644 0:0 /etc/os-release \"ID=debian\\nVERSION_ID=12\\n\"\n", "scratch"),
    ] {
        let place = Place::new();
        let root = place.root("machine", machine);
        let inspected = run(["inspect", "--root", root.to_str().unwrap()]);
        let line = inspected
            .out
            .lines()
            .find(|line| line.trim_start().starts_with("base image"))
            .unwrap()
            .to_owned();
        assert!(line.contains(image), "{line}");
        let plan = place.convert("ctx", &["--offline", "--dry-run", "--json"]).ends(0).out;
        let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
        let reference = plan["plan"]["base"]["reference"].as_str().unwrap_or("scratch").to_owned();
        assert!(line.contains(&reference), "{line}, but {reference}");
    }
}
