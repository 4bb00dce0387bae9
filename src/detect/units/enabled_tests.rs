//! Checks which services start at boot: of a real machine, with cycles, and of other service
//! managers.

use crate::detect::units::cron::{self, Schedule};
use crate::detect::units::enabled::{StartReason, enabled};
use crate::detect::units::load::Units;
use crate::detect::units::machine::{TestRoot, data, host, shown, texts};
use crate::detect::units::other::{OtherService, openrc, runit};
use crate::detect::units::sysv::{self, Header};
use crate::detect::units::{supervisor, tmpfiles};
use crate::model::findings::Findings;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

/// Returns `name<tab>how` of each unit, and the findings.
fn started(machine: &TestRoot) -> (Vec<String>, Vec<String>) {
    let mut findings = Findings::default();
    let units = Units::index(&machine.root, &mut findings);
    let lines = enabled(&units, &host(), &mut findings).into_iter().map(|unit| {
        let reason = if unit.reason == StartReason::Boot { "boot" } else { "activated" };
        format!("{}\t{reason}", String::from_utf8_lossy(&unit.loaded.name))
    });
    let lines = lines.collect();
    (lines, texts(&findings))
}

#[test]
fn enabled_real_machine_matches_other_parser() {
    let (found, findings) = started(&TestRoot::unpack("ubuntu-20.04/machine.txtar.xz"));
    let expected = String::from_utf8(data("ubuntu-20.04/enabled.tsv")).unwrap();
    let expected: Vec<&str> = expected.lines().collect();
    let missing: Vec<_> = expected.iter().filter(|line| !found.iter().any(|other| other == *line)).collect();
    let more: Vec<_> = found.iter().filter(|line| !expected.contains(&line.as_str())).collect();
    assert!(missing.is_empty() && more.is_empty(), "missing {missing:?}, too many {more:?}");
    assert!(findings.iter().all(|text| !text.contains("invalid value")), "{findings:?}");
}

#[test]
fn enabled_cycles_and_masked_units_are_handled() {
    let machine = TestRoot::new(&[
        ("etc/systemd/system/default.target", "-> /usr/lib/systemd/system/multi-user.target"),
        ("usr/lib/systemd/system/multi-user.target", "[Unit]\nRequires=basic.target\nWants=none.service"),
        ("usr/lib/systemd/system/basic.target", "[Unit]\nWants=multi-user.target"),
        ("etc/systemd/system/multi-user.target.wants/a.service", "-> ../a.service"),
        ("etc/systemd/system/multi-user.target.wants/m.service", "-> /usr/lib/systemd/system/m.service"),
        ("etc/systemd/system/a.service", "[Unit]\nBindsTo=b.service\nAfter=late.service"),
        ("etc/systemd/system/b.service", "[Unit]\nRequires=a.service"),
        ("etc/systemd/system/late.service", "[Unit]\n"),
        ("etc/systemd/system/m.service", "-> /dev/null"),
        ("usr/lib/systemd/system/m.service", "[Unit]\n"),
        ("etc/systemd/system/basic.target.wants/s.socket", "-> ../s.socket"),
        ("etc/systemd/system/s.socket", "[Socket]\nListenStream=80"),
        ("etc/systemd/system/s.service", "[Unit]\nWants=b.service"),
        ("etc/systemd/system/basic.target.wants/g@1.service", "-> ../g@.service"),
        ("etc/systemd/system/g@.service", "[Unit]\nWants=%i-x.service"),
        ("etc/systemd/system/1-x.service", "[Unit]\n"),
    ]);
    let names = ["1-x.service", "a.service", "b.service", "basic.target", "g@1.service", "multi-user.target"];
    let mut expected: Vec<String> = names.map(|name| format!("{name}\tboot")).to_vec();
    expected.extend(["s.service\tactivated".to_owned(), "s.socket\tboot".to_owned()]);
    assert_eq!(started(&machine).0, expected);
}

#[test]
fn header_lsb_and_red_hat_tags_are_parsed() {
    let headers = String::from_utf8(data("sysv-ubuntu-20.04/init-headers.txt")).unwrap();
    let expected: Value = serde_json::from_slice(&data("sysv-ubuntu-20.04/expected-headers.json")).unwrap();
    let mut compared = 0;
    for script in headers.split("==> ").skip(1) {
        let (path, text) = script.split_once('\n').unwrap();
        let header = Header::parse(text.as_bytes());
        let fields = expected[path.trim()].as_object().unwrap();
        assert_eq!(header.lsb.len(), fields.len(), "{path}");
        for (key, value) in fields {
            assert_eq!(shown(header.get(key)), [value.as_str().unwrap()], "{path} {key}");
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared} fields");
    let header = Header::parse(
        b"#!/bin/sh\n#\n# chkconfig: 2345 90 60\n# description: One \\\n#   two\n# processname: d\n# pidfile: /var/run/d.pid\n\
          \nX=1\n# config: /etc/late\n",
    );
    let tags = ["chkconfig", "description", "processname", "pidfile", "config"]
        .map(|tag| shown(header.tag(tag)).join(""));
    assert_eq!(tags, ["2345 90 60", "One two", "d", "/var/run/d.pid", ""]);
}

#[test]
fn sysv_enabled_script_with_unit_is_left_out() {
    let machine = TestRoot::new(&[
        (
            "etc/init.d/old",
            "#!/bin/sh\n# pidfile: /run/old.pid\n### BEGIN INIT INFO\n# Short-Description: Old\n### END INIT INFO\n",
        ),
        ("etc/init.d/new", "#!/bin/sh\n"),
        ("etc/init.d/gone.sh", "#!/bin/sh\n"),
        ("etc/rc2.d/S01old", "-> ../init.d/old"),
        ("etc/rc3.d/S99old", "-> ../init.d/old"),
        ("etc/rc2.d/S01new", "-> ../init.d/new"),
        ("etc/rc2.d/S01gone.sh", "-> ../init.d/gone.sh"),
        ("etc/rc2.d/S01none", "-> ../init.d/none"),
        ("etc/rc2.d/K01new", "-> ../init.d/new"),
        ("etc/rc0.d/S01halt", "-> ../init.d/new"),
        ("usr/lib/systemd/system/new.service", "[Unit]\n"),
        ("usr/lib/systemd/system/gone.service", "-> /dev/null"),
    ]);
    let mut findings = Findings::default();
    let units = Units::index(&machine.root, &mut findings);
    let services = sysv::enabled(&machine.root, &units, &mut findings);
    assert_eq!(lines(&services), ["SysV old by etc/init.d/old"]);
    assert_eq!(shown(services[0].pid_file.iter().chain(&services[0].description)), ["/run/old.pid", "Old"]);
    assert_eq!(texts(&findings), ["none: service file not found"]);
}

fn lines(services: &[OtherService]) -> Vec<String> {
    services.iter().map(|service| format!("{service:?}")).collect()
}

#[test]
fn openrc_script_returns_command_and_pid_file() {
    // The fixture contains only assignments, because the full scripts are third-party code.
    let facts: Value = serde_json::from_slice(&data("openrc-alpine-3.1/openrc-facts.json")).unwrap();
    let mut files = vec![("etc/conf.d/acpid".to_owned(), "ACPID_OPTS=\"-l\"\n".to_owned())];
    let facts = facts.as_object().unwrap();
    for (path, fact) in facts {
        let assigned = fact["assign"].as_object().unwrap();
        let line = |(key, value): (&String, &Value)| format!("{key}=\"{}\"\n", value.as_str().unwrap());
        let script: String = assigned.iter().map(line).collect();
        files.push((path.clone(), format!("#!/sbin/runscript\n{script}depend() {{\n\tneed net\n}}\n")));
        let name = path.rsplit('/').next().unwrap();
        files.push((format!("etc/runlevels/default/{name}"), format!("-> /etc/init.d/{name}")));
    }
    let services = openrc(&TestRoot::new(&files).root, &mut Findings::default());
    assert_eq!(services.len(), facts.len());
    for service in &services {
        let fact = &facts[&shown([&service.script]).remove(0)]["assign"];
        let command = ["command", "command_args"].iter().filter_map(|key| fact[*key].as_str());
        let has_command = fact["command"].is_string();
        let command = command.filter(|text| has_command && !text.is_empty()).collect::<Vec<_>>().join(" ");
        assert_eq!(service.command.as_deref().unwrap_or_default(), command.as_bytes(), "{service:?}");
    }
    let script =
        "pidfile=/run/${RC_SVCNAME}.pid\ncommand=/bin/a # x\ncommand_args='a\n b'\ncommand_user=u:g\n";
    let machine = TestRoot::new(&[("etc/init.d/a", script), ("etc/runlevels/default/a", "-> /etc/init.d/a")]);
    let a = openrc(&machine.root, &mut Findings::default()).remove(0);
    let found = shown(a.pid_file.iter().chain(&a.command).chain(&a.user));
    assert_eq!(found, ["/run/a.pid", "/bin/a a\\x0a b", "u:g"]);
}

#[test]
fn runit_and_supervisor_return_started_services() {
    let machine = TestRoot::new(&[
        ("etc/sv/a/run", "#!/bin/sh\n"),
        ("etc/service/a", "-> /etc/sv/a"),
        ("etc/sv/b/run", "#!/bin/sh\n"),
        ("etc/sv/b/down", ""),
        ("etc/service/b", "-> ../sv/b"),
        ("etc/service/c", "-> /nowhere"),
        ("etc/supervisor/supervisord.conf", "[supervisord]\nuser=root\n[include]\nfiles = conf.d/*.conf\n"),
        (
            "etc/supervisor/conf.d/web.conf",
            "; comment\n[program:web]\ncommand=/srv/web --port 80 ; why\n  --more\nuser = www\ndirectory: /srv\n\
             environment=A=\"1,2\",B='x',C=3\n[program:off]\ncommand=/x\nautostart=false\n",
        ),
        ("etc/supervisor/conf.d/web.conf.bak", "[program:bak]\ncommand=/x\n"),
    ]);
    let mut findings = Findings::default();
    assert_eq!(lines(&runit(&machine.root, &mut findings)), ["Runit a by etc/sv/a/run"]);
    let programs = supervisor::programs(&machine.root, &mut findings);
    assert_eq!(lines(&programs), ["Supervisor web by etc/supervisor/conf.d/web.conf"]);
    let web = &programs[0];
    let found = shown(web.command.iter().chain(&web.user).chain(&web.directory));
    assert_eq!(found, ["/srv/web --port 80\\x0a--more", "www", "/srv"]);
    let variables: Vec<String> =
        web.environment.iter().map(|(name, value)| shown([name, value]).join("=")).collect();
    assert_eq!(variables, ["A=1,2", "B=x", "C=3"]);
}

#[test]
fn cron_parse_each_line_form_is_understood() {
    let text = b"# comment\nSHELL = /bin/sh\nMAILTO=\"\"\n17 *\t* * *\troot  cd / && run-parts --report /etc/cron.hourly\n\
        @reboot www /srv/start 50\\%%in%put\n*/5 0-6,9 1 jan Mon-Fri u cmd A=1\nnot a line\n1 2 3 4 5 root\n61\n\xff * * * * r x\n";
    let (jobs, problems) = cron::parse(text, b"etc/crontab", None);
    let show = |job: &cron::Job| {
        let schedule = match &job.schedule {
            Schedule::Fields(fields) => shown(fields).join(" "),
            Schedule::Word(word) => shown([word]).remove(0),
        };
        let input = job.input.as_ref().map(|input| shown([input]).remove(0));
        (schedule, shown([&job.user, &job.command]).join(": "), input)
    };
    let expected = [
        ("17 * * * *", "root: cd / && run-parts --report /etc/cron.hourly", None),
        ("@reboot", "www: /srv/start 50%", Some("in\\x0aput")),
        ("*/5 0-6,9 1 jan Mon-Fri", "u: cmd A=1", None),
    ];
    let expected =
        expected.map(|(time, what, input)| (time.to_owned(), what.to_owned(), input.map(str::to_owned)));
    assert_eq!(jobs.iter().map(show).collect::<Vec<_>>(), expected);
    assert_eq!(jobs[0].environment.get(b"MAILTO"), Some(&b""[..]));
    assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [7, 8, 9, 10]);
    let (jobs, _) = cron::parse(b"0 4 * * 1 run hunter2\n", b"x", Some(b"eve"));
    assert_eq!(shown([&jobs[0].user, &jobs[0].command]), ["eve", "run hunter2"]);
    assert!(!format!("{jobs:?}").contains("hunter2"));
}

#[test]
fn cron_load_finds_jobs_of_all_directories() {
    let machine = TestRoot::new(&[
        ("etc/debian_version", "12\n"),
        ("etc/crontab", "0 1 * * * root a\n"),
        ("etc/cron.d/certbot", "0 */12 * * * root b\n"),
        ("etc/cron.d/old.bak", "0 1 * * * root c\n"),
        ("etc/cron.d/.placeholder", ""),
        ("etc/cron.daily/logrotate", "#!/bin/sh\n"),
        ("etc/cron.daily/readme", "text"),
        ("var/spool/cron/crontabs/eve", "@daily d\n"),
        ("var/spool/cron/atjobs/a00001019b2f3c", "#!/bin/sh\n"),
        ("var/spool/cron/atjobs/.SEQ", "1"),
    ]);
    let top =
        std::path::Path::new(std::ffi::OsStr::new(std::str::from_utf8(machine.root.absolute()).unwrap()));
    let permissions = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(top.join("etc/cron.daily/logrotate"), permissions).unwrap();
    let mut findings = Findings::default();
    let cron = cron::load(&machine.root, &mut findings);
    assert_eq!(shown(cron.jobs.iter().map(|job| &job.command)), ["a", "b", "d", "/etc/cron.daily/logrotate"]);
    assert_eq!(shown(&cron.at), ["var/spool/cron/atjobs/a00001019b2f3c"]);
    let expected =
        ["old.bak: not run: cron ignores file names of this form", "readme: not run: file is not executable"];
    assert_eq!(texts(&findings), expected);
    for (name, debian, others) in
        [("a-b_C1", true, true), ("a.cron", false, true), ("a.rpmsave", false, false), ("a~", false, false)]
    {
        assert_eq!(
            (cron::is_accepted(name.as_bytes(), true), cron::is_accepted(name.as_bytes(), false)),
            (debian, others),
            "{name}"
        );
    }
}

#[test]
fn tmpfiles_load_first_directory_takes_precedence() {
    let (lines, problems) = tmpfiles::parse(
        b"# c\nd /run/a 2775 u g 10d -\n D!  \"/run/b c\" ~:0755 - -\nL+ /run/l - - - - ../x y\nf /run/f 0644 root root - a\\nb  \n\
          z /dev/snd/seq 0660 - audio -\nd\n5 /x\nd /run/x 99999\nd 'open\n",
    );
    let show = |line: &tmpfiles::Line| {
        let mode =
            line.mode.map(|mode| format!("{:o}{}{}", mode.bits, mode.is_masked as u8, mode.is_initial as u8));
        let fields = [&line.user, &line.group, &line.age, &line.argument].map(|field| shown(field).join(""));
        format!(
            "{}{} {} {} {}",
            line.kind as char,
            shown([&line.modifiers])[0],
            shown([&line.path])[0],
            mode.unwrap_or_default(),
            fields.join(",")
        )
    };
    let expected = [
        "d /run/a 277500 u,g,10d,",
        "D! /run/b c 75511 ,,,",
        "L+ /run/l  ,,,../x y",
        "f /run/f 64400 root,root,,a\\\\nb",
        "z /dev/snd/seq 66000 ,audio,,",
    ];
    assert_eq!(lines.iter().map(show).collect::<Vec<_>>(), expected);
    assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [7, 8, 9, 10]);
    let machine = TestRoot::new(&[
        ("usr/lib/tmpfiles.d/b.conf", "d /run/from-lib\n"),
        ("etc/tmpfiles.d/b.conf", "d /run/%H-%z\n"),
        ("usr/lib/tmpfiles.d/a.conf", "d %t/a\n"),
        ("usr/lib/tmpfiles.d/c.conf", "d /run/c\n"),
        ("etc/tmpfiles.d/c.conf", "-> /dev/null"),
    ]);
    let mut findings = Findings::default();
    let lines = tmpfiles::load(&machine.root, &host(), &mut findings);
    assert_eq!(shown(lines.iter().map(|(_, line)| &line.path)), ["/run/a", "/run/vm.example.org-%z"]);
    assert_eq!(texts(&findings), ["b.conf: unsupported specifiers, left as written: z"]);
}
