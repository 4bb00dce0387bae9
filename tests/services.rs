//! Converts the services of a stopped machine and checks the context for content and for secrets.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use serde_json::Value;
use std::fs;
use std::path::Path;
use support::schema::Schema;
use support::tool::{Place, command, finish};

/// Secrets that no file of the context may contain.
const SECRETS: [&str; 4] = ["Canary-Env-7f3a", "Canary-File-91bc", "Canary-Arg-44de", "Canary-Copy-91bc"];

const MACHINE: &str = r##"
file 0644 0:0 /usr/lib/os-release "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"
file 0644 0:0 /etc/hostname "shop01\n"
file 0644 0:0 /etc/passwd "root:x:0:0:root:/root:/bin/sh\nshop:x:999:998::/srv/shop:/usr/sbin/nologin\n"
file 0644 0:0 /etc/group "root:x:0:\nshop:x:998:\nssl:x:110:shop\n"
file 0755 0:0 /usr/sbin/nginx "nginx\n"
file 0755 0:0 /srv/shop/shop "shop\n"
file 0644 0:0 /srv/shop/settings.py "CACHE = 'http://127.0.0.1:9999/'\n"
file 0644 0:0 /etc/nginx/nginx.conf "proxy_pass http://localhost:7000;\n"
file 0644 0:0 /etc/systemd/system/shop.service "[Unit]\nDescription=The \"shop\" $HOME\n[Service]\nUser=shop\nWorkingDirectory=/srv/shop\nEnvironment=MODE=live \"TITLE=two words\" SHOP_TOKEN=Canary-Env-7f3a\nEnvironmentFile=/etc/shop.env\nRuntimeDirectory=shop\nStateDirectory=shop\nExecStartPre=/usr/bin/touch \"/run/shop/it's\"\nExecStartPre=/bin/systemctl is-active shop\nExecStart=/srv/shop/shop --name ${TITLE} $EXTRA --password=Canary-Arg-44de\nKillSignal=SIGINT\nTimeoutStopSec=7\nRestart=always\nLimitNOFILE=4096\nMemoryMax=256M\nCPUQuota=50%\nAmbientCapabilities=CAP_NET_ADMIN\n"
file 0640 0:998 /etc/shop.env "# values\nDB_PASSWORD=Canary-File-91bc\nEXTRA=\"-a -b\"\n"
file 0644 0:0 /etc/backup-of-settings "password is Canary-File-91bc, do not tell\n"
file 0644 0:0 /usr/lib/systemd/system/nginx.service "[Service]\nType=forking\nPIDFile=/run/nginx.pid\nExecStart=/usr/sbin/nginx -g 'daemon on; master_process on;'\nKillMode=mixed\n"
file 0644 0:0 /etc/systemd/system/seven.socket "[Socket]\nListenStream=7000\nAccept=yes\n"
file 0644 0:0 /etc/systemd/system/seven@.service "[Service]\nUser=shop\nStandardInput=socket\nExecStart=/srv/shop/shop seven\n"
file 0644 0:0 /etc/systemd/system/report.timer "[Timer]\nOnCalendar=Mon..Fri 03:00\n"
file 0644 0:0 /etc/systemd/system/report.service "[Service]\nType=oneshot\nExecStart=/srv/shop/shop report\n"
file 0644 0:0 /etc/systemd/system/broken.service "[Service]\nExecStart=/srv/shop/shop \"never closed\n"
file 0644 0:0 /etc/systemd/system/circle.service "[Unit]\nRequires=circle.service shop.service\nAfter=circle.service\n[Service]\nExecStart=/nonexistent/program\n"
file 0644 0:0 /usr/lib/systemd/system/systemd-journald.service "[Service]\nExecStart=/lib/systemd/systemd-journald\n"
file 0644 0:0 /usr/lib/systemd/system/multi-user.target "[Unit]\n"
file 0644 0:0 /usr/lib/systemd/system/sockets.target "[Unit]\n"
file 0755 0:0 /etc/init.d/abacus "#!/bin/sh\n### BEGIN INIT INFO\n# Provides: abacus\n# Default-Start: 2 3 4 5\n### END INIT INFO\n"
link 0777 0:0 /etc/rc2.d/S01abacus ../init.d/abacus
file 0644 0:0 /etc/systemd/system/inbox.path "[Path]\nPathExists=/srv/inbox/new\n"
file 0644 0:0 /etc/systemd/system/inbox.service "[Service]\nType=oneshot\nExecStart=/srv/shop/shop inbox\n"
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/inbox.path ../inbox.path
file 0644 0:0 /etc/systemd/system/ldap.service "[Service]\nUser=svcad\nGroup=admins\nExecStart=/srv/shop/shop ldap\n"
file 0644 0:0 /etc/systemd/system/numeric.service "[Service]\nUser=1234\nExecStart=/srv/shop/shop numeric\n"
file 0644 0:0 /etc/systemd/system/dyn.service "[Service]\nDynamicUser=yes\nStateDirectory=dyn\nExecStart=/srv/shop/shop dyn\n"
dir 0700 0:0 /var/lib/private
dir 0755 64321:64322 /var/lib/private/dyn
file 0644 64321:64322 /var/lib/private/dyn/state "s\n"
link 0777 0:0 /var/lib/dyn private/dyn
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/ldap.service ../ldap.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/numeric.service ../numeric.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/dyn.service ../dyn.service
link 0777 0:0 /etc/systemd/system/default.target /usr/lib/systemd/system/multi-user.target
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/shop.service ../shop.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/nginx.service /usr/lib/systemd/system/nginx.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/seven.socket ../seven.socket
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/report.timer ../report.timer
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/broken.service ../broken.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/circle.service ../circle.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/missing.service ../missing.service
file 0644 0:0 /etc/systemd/system/stack.service "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/srv/shop/shop once\n"
file 0644 0:0 /etc/systemd/system/web.service "[Service]\nExecStartPre=-/usr/bin/docker rm -f web\nExecStart=/bin/sh -c 'exec /usr/bin/docker run --rm web'\n"
file 0644 0:0 /etc/systemd/system/script.service "[Service]\nExecStart=/srv/shop/run-script\n"
file 0755 0:0 /srv/shop/run-script "#!/bin/sh\npodman run app\n"
file 0644 0:0 /etc/systemd/system/snap.micro.service "[Service]\nExecStart=/usr/bin/snap run micro\n"
file 0644 0:0 /usr/lib/systemd/system/dbus.socket "[Socket]\nListenStream=/run/dbus/bus\n"
file 0644 0:0 /usr/lib/systemd/system/dbus.service "[Service]\nExecStart=/usr/bin/dbus-daemon\n"
file 0644 0:0 /srv/shop/.config/systemd/user/bot.service "[Service]\nExecStart=/srv/shop/shop bot\n"
file 0644 0:0 /var/lib/systemd/linger/shop ""
file 0755 0:0 /etc/rc.local "#!/bin/sh\n/srv/shop/shop boot &\n"
link 0777 0:0 /srv/shop/.config/systemd/user/default.target.wants/bot.service ../bot.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/stack.service ../stack.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/web.service ../web.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/script.service ../script.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/snap.micro.service ../snap.micro.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/dbus.socket /usr/lib/systemd/system/dbus.socket
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/systemd-journald.service /usr/lib/systemd/system/systemd-journald.service
"##;

fn converted(arguments: &[&str]) -> (Place, Value) {
    let place = Place::new();
    place.root("machine", MACHINE);
    place.convert("ctx", &[&["--base-from", "none", "--compress", "none"], arguments].concat()).ends(0);
    let plan = fs::read(place.path("ctx").join("plan.json")).unwrap();
    let plan = serde_json::from_slice(&plan).unwrap();
    Schema::load().check("plan", &plan);
    (place, plan)
}

fn service<'a>(plan: &'a Value, name: &str) -> &'a Value {
    let services = plan["workload"]["services"].as_array().unwrap();
    services.iter().find(|service| service["name"] == name).unwrap_or_else(|| panic!("no service {name}"))
}

fn names(plan: &Value) -> Vec<&str> {
    let services = plan["workload"]["services"].as_array().unwrap();
    services.iter().map(|service| service["name"].as_str().unwrap()).collect()
}

fn text(place: &Place, name: &str) -> String {
    fs::read_to_string(place.path("ctx").join(name)).unwrap_or_else(|cause| panic!("{name}: {cause}"))
}

#[test]
fn convert_enabled_units_become_containers() {
    let (place, plan) = converted(&[]);
    assert_eq!(
        names(&plan),
        ["abacus", "circle", "dyn", "ldap", "nginx", "numeric", "report", "script", "seven", "shop"]
    );
    let abacus = text(&place, "services/abacus/entry");
    assert!(
        abacus.contains("\n/etc/init.d/abacus start\n") && abacus.contains("v2d_find() { v2d_any; }"),
        "{abacus}"
    );
    let shop = service(&plan, "shop");
    assert_eq!((&shop["user"]["uid"], &shop["user"]["gid"]), (&999.into(), &998.into()));
    assert_eq!(shop["user"]["groups"], serde_json::json!([110]));
    assert_eq!((&shop["stop_signal"], &shop["stop_grace"]["secs"]), (&"INT".into(), &7.into()));
    assert_eq!((&shop["memory"], &shop["cpu_millis"]), (&(256 << 20).into(), &500.into()));
    assert_eq!(shop["ulimits"]["nofile"], serde_json::json!([4096, 4096]));
    assert_eq!(shop["privileges"]["add"], serde_json::json!(["NET_ADMIN"]));
    assert_eq!(shop["restart"], "always");
    assert_eq!(service(&plan, "circle")["depends_on"], serde_json::json!(["shop"]));
    assert_eq!(service(&plan, "seven")["ports"][0]["number"], 7000);
    assert_eq!(service(&plan, "nginx")["network"], "machine-network");
    assert_eq!(service(&plan, "seven")["network"], "machine-network");
    let dockerfile = text(&place, "services/nginx/Dockerfile");
    assert!(dockerfile.contains(r#"CMD ["/usr/sbin/nginx","-g","daemon off;"]"#), "{dockerfile}");
    let report = text(&place, "services/report/entry");
    assert!(report.contains("systemd-analyze calendar --iterations=1 -- 'Mon..Fri 03:00'"), "{report}");
}

#[test]
fn convert_each_enabled_unit_is_a_container_or_has_a_reason() {
    let (place, plan) = converted(&[]);
    let workload = &plan["workload"];
    let containers = workload["services"].as_array().unwrap().iter().map(|service| &service["unit"]);
    let skipped = workload["skipped"].as_array().unwrap().iter().map(|skipped| &skipped["unit"]);
    let mut units: Vec<&str> = containers.chain(skipped).map(|unit| unit.as_str().unwrap()).collect();
    units.sort_unstable();
    let expected = "/etc/rc.local abacus bot.service (user shop) broken.service circle.service dbus.service dbus.socket \
                    dyn.service inbox.path inbox.service ldap.service nginx.service numeric.service report.service \
                    script.service seven.service shop.service snap.micro.service stack.service \
                    systemd-journald.service web.service";
    assert_eq!(units.join(" "), expected);
    let readme = text(&place, "README.md");
    for row in [
        "containers with docker",
        "(Type=oneshot)",
        "an image already | snap.micro.service",
        "bot.service (user shop)",
    ] {
        assert!(readme.contains(row), "no {row:?} in\n{readme}");
    }
    let issues = workload["compatibility"].as_array().unwrap();
    let containers: Vec<_> = issues.iter().filter(|issue| issue["kind"] == "containers").collect();
    assert_eq!(containers.len(), 1, "{containers:?}");
    assert_eq!(
        (&containers[0]["service"], &containers[0]["severity"]),
        (&"script".into(), &"blocker".into())
    );
}

#[test]
fn entry_script_follows_the_unit() {
    let (place, plan) = converted(&[]);
    let entry = text(&place, "services/shop/entry");
    let line = r#"exec /srv/shop/shop --name "${TITLE-}" ${EXTRA-} '--password='"${SHOP_PASSWORD-}""#;
    for expected in
        [line, r"/usr/bin/touch '/run/shop/it'\''s'", "load /etc/shop.env", "export TITLE='two words'"]
    {
        assert!(entry.contains(expected), "no {expected:?} in\n{entry}");
    }
    assert!(!entry.contains("systemctl"), "{entry}");
    let dockerfile = text(&place, "services/shop/Dockerfile");
    for variable in [
        r#"ENV RUNTIME_DIRECTORY="/run/shop""#,
        r#"ENV STATE_DIRECTORY="/var/lib/shop""#,
        r#"ENV MODE="live""#,
    ] {
        assert!(dockerfile.contains(variable), "no {variable} in\n{dockerfile}");
    }
    let notes: Vec<&str> = plan["workload"]["compatibility"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fit| fit["evidence"].as_str().unwrap())
        .collect();
    assert!(notes.iter().any(|note| note.contains("needs systemd")), "{notes:?}");
    finish(command("sh").arg("-n").arg(place.path("ctx").join("services/shop/entry"))).ends(0);
    let compose = text(&place, "compose.yaml");
    assert!(compose.contains("${SHOP_TOKEN:?") && compose.contains("${SHOP_PASSWORD:?"), "{compose}");
}

#[test]
fn convert_user_without_account_is_never_root() {
    let (place, plan) = converted(&[]);
    let user = |name: &str| service(&plan, name)["user"].clone();
    assert_eq!((&user("ldap")["uid"], &user("ldap")["gid"]), (&65534.into(), &65534.into()));
    assert_eq!((&user("numeric")["uid"], &user("numeric")["gid"]), (&1234.into(), &1234.into()));
    assert_eq!((&user("dyn")["uid"], &user("dyn")["gid"]), (&64321.into(), &64322.into()));
    let issues = plan["workload"]["compatibility"].as_array().unwrap();
    let unknown: Vec<_> = issues.iter().filter(|issue| issue["kind"] == "unknown-account").collect();
    let evidence =
        unknown.iter().map(|issue| issue["evidence"].as_str().unwrap()).collect::<Vec<_>>().join("; ");
    assert!(evidence.contains("User=svcad") && evidence.contains("Group=admins"), "{evidence}");
    assert!(unknown.iter().all(|issue| issue["severity"] == "blocker" && issue["service"] == "ldap"));
    let prepare = text(&place, "services/dyn/prepare");
    assert!(prepare.contains("chown -h 64321:64322 -- /var/lib/private/dyn"), "{prepare}");
    assert!(
        prepare.contains("chmod 0711 -- /var/lib/private\n") && !prepare.contains(" /var/lib/dyn"),
        "{prepare}"
    );
    assert_eq!(service(&plan, "dyn")["mounts"][0]["path"], "/var/lib/private/dyn");
}

#[test]
fn convert_unit_secrets_are_in_no_file() {
    let (place, plan) = converted(&[]);
    search(&place.path("ctx"));
    let todo = text(&place, "SECRETS.todo");
    for path in ["/etc/shop.env", "/etc/systemd/system/shop.service", "/etc/backup-of-settings"] {
        assert!(todo.contains(path), "{path} is not in\n{todo}");
    }
    assert_eq!(service(&plan, "shop")["secrets"], serde_json::json!(["SHOP_PASSWORD", "SHOP_TOKEN"]));
}

fn search(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            search(&path);
            continue;
        }
        let content = fs::read(&path).unwrap();
        // With --compress none, only the manifest is compressed.
        let content = if path.extension().is_some_and(|end| end == "zst") {
            zstd::decode_all(&content[..]).unwrap()
        } else {
            content
        };
        for secret in SECRETS {
            let is_present = content.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!is_present, "{secret} is in {}", path.display());
        }
    }
}

#[test]
fn convert_broken_units_are_reported() {
    let (place, plan) = converted(&[]);
    let findings = text(&place, "findings.jsonl");
    assert!(findings.contains("broken.service"), "{findings}");
    assert!(plan["workload"]["skipped"].to_string().contains("inbox.path"));
    let fit = plan["workload"]["compatibility"].to_string();
    assert!(fit.contains("/nonexistent/program"), "{fit}");
}

#[test]
fn services_option_selects_units_by_name() {
    for (argument, chosen) in [
        ("none", &[][..]),
        ("nginx,report.service", &["nginx", "report"]),
        ("systemd-journald", &["systemd-journald"]),
    ] {
        let (place, plan) = converted(&["--services", argument]);
        assert_eq!(names(&plan), chosen, "{argument}");
        assert_eq!(place.path("ctx").join("compose.yaml").exists(), !chosen.is_empty(), "{argument}");
    }
}

#[test]
fn services_option_unknown_name_is_a_usage_error() {
    let place = Place::new();
    place.root("machine", MACHINE);
    for name in ["foo", "nginx,foo", "nginx,"] {
        let ran = place.convert("ctx", &["--base-from", "none", "--services", name]).ends(2);
        ran.says(&["no enabled or running service has this name", "hint: use names of: ", "nginx", "shop"]);
        assert!(!place.path("ctx").exists(), "{name}");
    }
}

#[test]
fn convert_without_services_writes_no_containers() {
    let place = Place::new();
    place.root("machine", "file 0644 0:0 /usr/lib/os-release \"ID=debian\\nVERSION_ID=12\\n\"\n");
    place.convert("ctx", &["--base-from", "none"]).ends(0);
    assert!(!place.path("ctx").join("services").exists());
}
