//! Files that are likely secret: notes, `--strict-secrets` and lines of `--policy`.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use support::tool::{Place, command, finish, run};

/// A password that does not look random, in a file of an application.
const MACHINE: &str = r##"
file 0644 0:0 /usr/lib/os-release "ID=debian\nVERSION_ID=\"12\"\n"
file 0644 0:0 /etc/passwd "root:x:0:0:root:/root:/bin/sh\n"
file 0644 0:0 /etc/group "root:x:0:\n"
file 0644 0:0 "/srv/app/a b#[1].py" "db_password = 'Sommer2024'\n"
file 0644 0:0 /srv/app/page "nothing\n"
file 0600 0:0 /etc/wireguard/wg0.conf "PrivateKey = x\n"
"##;

const LIKELY: &str = "/srv/app/a b#[1].py";

/// Converts the machine and returns the verdicts by path.
fn verdicts(place: &Place, ctx: &str, arguments: &[&str]) -> BTreeMap<String, String> {
    let all = [&["--base-from", "none", "--compress", "none"], arguments].concat();
    place.convert(ctx, &all).ends(0);
    let manifest = place.manifest(ctx);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    manifest.iter().map(|record| (text(&record["path"]), text(&record["verdict"]))).collect()
}

/// Returns the texts of the findings of a kind, by path.
fn findings(place: &Place, ctx: &str, kind: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(place.path(ctx).join("findings.jsonl")).unwrap();
    let findings = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    findings
        .filter(|finding| finding["kind"] == kind)
        .map(|finding| (text(&finding["path"]), text(&finding["text"])))
        .collect()
}

/// Returns the line of `--policy` at the end of a finding.
fn policy_line(text: &str) -> &str {
    text.rsplit_once("add to --policy: ").unwrap_or_else(|| panic!("no line in {text}")).1
}

#[test]
fn strict_secrets_likely_secret_is_withheld() {
    let place = Place::new();
    place.root("machine", MACHINE);
    assert_eq!(verdicts(&place, "ctx", &[])[LIKELY], "keep");
    let strict = verdicts(&place, "ctx-strict", &["--strict-secrets"]);
    assert_eq!((&*strict[LIKELY], &*strict["/srv/app/page"]), ("withhold", "keep"));
    let delta = fs::read(place.path("ctx-strict/delta.tar")).unwrap();
    assert!(memchr::memmem::find(&delta, b"Sommer2024").is_none());
    assert!(findings(&place, "ctx-strict", "withheld")[LIKELY].contains("--strict-secrets"));
    assert_eq!(findings(&place, "ctx-strict", "suspicious").len(), 0);

    let root = place.path("machine");
    let mut conversion = command(env!("CARGO_BIN_EXE_vm2docker-self"));
    conversion.env("VM2DOCKER_STRICT_SECRETS", "true").arg("--root").arg(root).arg("--out");
    finish(conversion.arg(place.path("ctx-variable")).args(["--offline", "--base-from", "none"])).ends(0);
    assert!(findings(&place, "ctx-variable", "withheld").contains_key(LIKELY));
}

#[test]
fn policy_line_of_a_finding_decides_otherwise() {
    let place = Place::new();
    place.root("machine", MACHINE);
    verdicts(&place, "ctx", &[]);
    let (likely, withheld) = (findings(&place, "ctx", "suspicious"), findings(&place, "ctx", "withheld"));
    let lines = [policy_line(&likely[LIKELY]), policy_line(&withheld["/etc/wireguard/wg0.conf"])];
    let policy = place.path("policy");
    fs::write(&policy, lines.join("\n")).unwrap();
    let decided = verdicts(&place, "ctx-decided", &["--policy", policy.to_str().unwrap()]);
    assert_eq!((&*decided[LIKELY], &*decided["/etc/wireguard/wg0.conf"]), ("withhold", "keep"));
    // A keep line silences the note, also with --strict-secrets.
    fs::write(&policy, lines[0].replace("withhold ", "keep ")).unwrap();
    let kept = verdicts(&place, "ctx-kept", &["--strict-secrets", "--policy", policy.to_str().unwrap()]);
    assert_eq!(kept[LIKELY], "keep");
    assert_eq!(findings(&place, "ctx-kept", "suspicious").len(), 0);

    for (path, line) in [(LIKELY, lines[0]), ("/etc/wireguard/wg0.conf", lines[1])] {
        let ctx = place.path("ctx");
        let explained = run(["explain", ctx.to_str().unwrap(), path]).ends(0).out;
        assert!(explained.contains(&format!("add to --policy: {line}\n")), "{explained}");
        let json = run(["explain", "--json", ctx.to_str().unwrap(), path]).ends(0).out;
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["policy_line"], line);
    }
}

/// Rules for secrets also apply to the target of a link and to other names of an inode.
#[test]
fn policy_keep_of_one_name_is_not_overruled_by_another() {
    let place = Place::new();
    place.root(
        "machine",
        r##"
        file 0644 0:0 /usr/lib/os-release "ID=debian\nVERSION_ID=\"12\"\n"
        file 0600 0:0 /srv/target "x\n"
        link 0777 0:0 /etc/ssl/private/site.key /srv/target
        file 0600 0:0 /etc/wireguard/wg0.conf "x\n"
        hard - - /srv/second /etc/wireguard/wg0.conf
        "##,
    );
    let policy = place.path("policy");
    let withheld = verdicts(&place, "ctx", &[]);
    assert_eq!((&*withheld["/srv/target"], &*withheld["/srv/second"]), ("withhold", "withhold"));
    fs::write(&policy, "keep /srv/target\nkeep /srv/second\n").unwrap();
    let kept = verdicts(&place, "ctx-kept", &["--policy", policy.to_str().unwrap()]);
    assert_eq!((&*kept["/srv/target"], &*kept["/srv/second"]), ("keep", "keep"));
    assert_eq!(kept["/etc/wireguard/wg0.conf"], "withhold");
}

/// The summary shows likely secrets in at most ten lines, also with `--verbose`.
#[test]
fn summary_many_likely_secrets_are_grouped() {
    let place = Place::new();
    let root = place.root("machine", MACHINE);
    for number in 0..300 {
        let directory = root.join(format!("opt/library/part{}/x", number % 20));
        fs::create_dir_all(&directory).unwrap();
        let key = format!("db_password = 'Sommer2024{number}'\n");
        fs::write(directory.join(format!("{number}.py")), key).unwrap();
    }
    let arguments = ["--base-from", "none", "--compress", "none", "--verbose"];
    let screen = place.convert("ctx", &arguments).ends(0).err;
    let lines: Vec<&str> = screen.lines().collect();
    let first = lines.iter().position(|line| line.starts_with("likely secrets")).unwrap();
    assert!(lines[first].contains("301 files in the image may be secret"), "{screen}");
    assert_eq!(lines[first + 1].trim(), "/opt/library (300 files): password");
    assert_eq!(lines[first + 2].trim(), format!("{LIKELY}: password"));
    assert!(!screen.contains("may hold a secret"), "{screen}");
    assert!(
        lines[first - 1].starts_with("secrets ")
            && lines[first - 1]
                .contains("1 files left out of the image, 0 needed by services, 1 by none: SECRETS.todo")
    );
    assert_eq!(findings(&place, "ctx", "suspicious").len(), 301);
    let plan: Value = serde_json::from_slice(&fs::read(place.path("ctx/plan.json")).unwrap()).unwrap();
    let counts = ["needed", "unneeded", "likely"].map(|name| plan["secrets"][name]["paths"].as_u64());
    assert_eq!(counts, [Some(0), Some(1), Some(301)]);
}
