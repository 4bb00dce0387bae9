//! Converts units with settings that only systemd's own rules explain, and checks the context.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use serde_json::Value;
use std::fs;
use support::tool::{Place, command, finish};

const MACHINE: &str = r##"
file 0644 0:0 /usr/lib/os-release "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"
file 0644 0:0 /etc/passwd "root:x:0:0:root:/root:/bin/sh\n"
file 0644 0:0 /etc/group "root:x:0:\nweb:x:333:\n"
file 0755 0:0 /srv/app "app\n"
file 0755 0:0 /bin/false "x\n"
file 0644 0:0 /etc/app.env "JAVA_OPTS=\"-Xms1g \\\n  -Xmx2g\"\nTEXT=\"line one\nline two\"\nWINPATH=C:\\\\temp\n SPACED = val\nPLAIN=ok\n"
file 0644 0:0 /etc/app-extra.conf "FROMGLOB=1\nPLAIN=last\n"
file 0644 0:0 /etc/app-secret.conf "DB_PASSWORD=Canary-Glob-5d20\n"
file 0644 0:0 /etc/app-[x].conf "PIN_PASSWORD=Kurz1\n"
file 0644 0:0 /etc/copy.txt "in a copy too: Canary-Glob-5d20\n"
file 0644 0:0 /etc/systemd/system/envf.service "[Service]\nEnvironmentFile=/etc/app.env\nEnvironmentFile=-/etc/app-*.conf\nEnvironmentFile=/etc/none.env\nExecStart=/srv/app\n"
file 0644 0:0 /etc/systemd/system/forkd.service "[Service]\nType=forking\nPIDFile=/run/forkd/pid\nExecStart=/srv/app\nExecStop=/bin/kill $MAINPID\nTimeoutStopSec=7\n"
file 0644 0:0 /etc/systemd/system/signal.service "[Service]\nExecStart=/srv/app\nExecStop=/bin/kill -QUIT $MAINPID\n"
file 0644 0:0 /etc/systemd/system/cond.service "[Unit]\nConditionPathExists=/etc/app/absent\n[Service]\nExecStart=/srv/app\n"
file 0644 0:0 /etc/systemd/system/cond2.service "[Service]\nExecCondition=/bin/false\nExecStart=/srv/app\n"
file 0644 0:0 /etc/systemd/system/maybe.service "[Unit]\nConditionMemory=1G\n[Service]\nExecCondition=/srv/app check\nExecStart=/srv/app\n"
file 0644 0:0 /etc/systemd/system/told.service "[Unit]\nOnFailure=mail.service\n[Service]\nLoadCredential=a:/etc/a\nBindPaths=/a:/b\nPrivateNetwork=yes\nExecStrat=/x\nExecStart=/srv/app\n"
file 0644 0:0 /etc/systemd/system/grouped.service "[Service]\nGroup=web\nExecStart=/srv/app\nRuntimeDirectory=grouped\n"
file 0644 0:0 /etc/tmpfiles.d/grouped.conf "d /run/grouped-sockets 0755 svcad web\n"
file 0644 0:0 /usr/lib/systemd/system/multi-user.target "[Unit]\n"
link 0777 0:0 /etc/systemd/system/default.target /usr/lib/systemd/system/multi-user.target
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/envf.service ../envf.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/forkd.service ../forkd.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/signal.service ../signal.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/cond.service ../cond.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/cond2.service ../cond2.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/maybe.service ../maybe.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/told.service ../told.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/grouped.service ../grouped.service
"##;

fn converted() -> (Place, Value) {
    let place = Place::new();
    place.root("machine", MACHINE);
    place.convert("ctx", &["--base-from", "none", "--compress", "none"]).ends(0);
    let plan = fs::read(place.path("ctx").join("plan.json")).unwrap();
    (place, serde_json::from_slice(&plan).unwrap())
}

fn text(place: &Place, name: &str) -> String {
    fs::read_to_string(place.path("ctx").join(name)).unwrap_or_else(|cause| panic!("{name}: {cause}"))
}

/// Returns severity, kind and evidence of a service's issues.
fn issues(plan: &Value, service: &str) -> Vec<String> {
    let all = plan["workload"]["compatibility"].as_array().unwrap().iter();
    let issues = all.filter(|issue| issue["service"] == service);
    let shown = |issue: &Value| {
        let text = |key: &str| issue[key].as_str().unwrap().to_owned();
        format!("{} {} {}", text("severity"), text("kind"), text("evidence"))
    };
    issues.map(shown).collect()
}

fn service<'a>(plan: &'a Value, name: &str) -> &'a Value {
    let services = plan["workload"]["services"].as_array().unwrap();
    services.iter().find(|service| service["name"] == name).unwrap_or_else(|| panic!("no service {name}"))
}

#[test]
fn environment_files_are_read_as_by_systemd() {
    let (place, plan) = converted();
    let entry = text(&place, "services/envf/entry");
    for line in [
        "export JAVA_OPTS='-Xms1g   -Xmx2g'\n",
        "export TEXT='line one\nline two'\n",
        "export WINPATH='C:\\temp'\n",
        "export SPACED=val\n",
        "export FROMGLOB=1\nexport PLAIN=last\n[ ! -r /etc/app-secret.conf ] || load /etc/app-secret.conf\n",
    ] {
        assert!(entry.contains(line), "no {line:?} in\n{entry}");
    }
    let issues = issues(&plan, "envf");
    assert!(
        issues
            .iter()
            .any(|issue| issue
                .starts_with("blocker environment-file its unit reads variables from /etc/none.env")),
        "{issues:?}"
    );
    finish(command("sh").arg("-n").arg(place.path("ctx").join("services/envf/entry"))).ends(0);
}

#[test]
fn secrets_in_files_of_a_pattern_are_withheld() {
    let (place, _) = converted();
    let todo = text(&place, "SECRETS.todo");
    for path in ["/etc/app-secret.conf", "/etc/app-[x].conf", "/etc/copy.txt"] {
        assert!(todo.contains(path), "{path} is not in\n{todo}");
    }
    finish(command("grep").args(["-rqa", "Canary-Glob-5d20"]).arg(place.path("ctx"))).ends(1);
}

#[test]
fn stop_commands_get_the_main_process() {
    let (place, plan) = converted();
    let entry = text(&place, "services/forkd/entry");
    assert!(
        entry.contains("  /bin/kill ${MAINPID-} || return\n")
            && entry.contains("read -r pid </run/forkd/pid"),
        "{entry}"
    );
    assert_eq!(service(&plan, "forkd")["stop_grace"]["secs"], 14);
    finish(command("sh").arg("-n").arg(place.path("ctx").join("services/forkd/entry"))).ends(0);
    let signal = service(&plan, "signal");
    assert_eq!((&signal["stop_signal"], &signal["command"]["exec"][0]), (&"QUIT".into(), &"/srv/app".into()));
}

#[test]
fn conditions_decide_or_are_reported() {
    let (place, plan) = converted();
    let skipped = plan["workload"]["skipped"].to_string();
    for reason in ["ConditionPathExists=/etc/app/absent is not met", "ExecCondition=/bin/false is not met"] {
        assert!(skipped.contains(reason), "{reason}: {skipped}");
    }
    let issues = issues(&plan, "maybe");
    assert!(issues.iter().any(|issue| issue.contains("only if ConditionMemory=1G is met")), "{issues:?}");
    assert!(
        issues.iter().any(|issue| issue.contains("only if ExecCondition=/srv/app succeeds")),
        "{issues:?}"
    );
    assert!(text(&place, "services/maybe/entry").contains("/srv/app check || code=$?\n"));
}

#[test]
fn directives_without_effect_in_containers_are_reported() {
    let (_, plan) = converted();
    let expected = [
        "blocker directive its unit sets [Service] BindPaths=",
        "blocker directive its unit sets [Service] LoadCredential=",
        "warning directive its unit sets [Service] ExecStrat=, which is unknown",
        "warning directive its unit sets [Service] PrivateNetwork=",
        "warning directive its unit sets [Unit] OnFailure=",
    ];
    assert_eq!(issues(&plan, "told"), expected);
}

#[test]
fn groups_and_owners_are_never_silently_root() {
    let (place, plan) = converted();
    let user = &service(&plan, "grouped")["user"];
    assert_eq!((&user["uid"], &user["gid"]), (&0.into(), &333.into()));
    assert_eq!(user["groups"], serde_json::json!([]));
    let prepare = text(&place, "services/grouped/prepare");
    for line in ["chown -h 0:333 -- /run/grouped\n", "chown -h 65534:333 -- /run/grouped-sockets\n"] {
        assert!(prepare.contains(line), "{prepare}");
    }
    let issues = issues(&plan, "grouped");
    assert!(
        issues.iter().any(|issue| issue.starts_with("blocker unknown-account svcad of /run/grouped-sockets")),
        "{issues:?}"
    );
}
