//! Table of known daemons: options for the foreground, stop signal, logging to the output.
//!
//! The options matter only for daemons that a unit or init script starts in the background. A
//! unit that keeps its process in the foreground is used unchanged.

use crate::glob::GlobSet;
use std::sync::LazyLock;

/// Known properties of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Daemon {
    /// File name of the executable; a final `*` matches any rest.
    pub(super) program: &'static str,
    /// Options that select the background or conflict with `add`. The bool says whether a
    /// separate value follows.
    pub(super) drop: &'static [(&'static str, bool)],
    /// Arguments that select the foreground.
    pub(super) add: &'static [&'static str],
    /// Complete command, if arguments are not enough.
    pub(super) instead: &'static [&'static str],
    /// Absolute path of a shell file that sets the environment.
    pub(super) shell: Option<&'static str>,
    /// Signal for a clean stop, if it is not `TERM`.
    pub(super) signal: Option<&'static str>,
    /// Whether the daemon can write its logs to a pipe.
    pub(super) logs_to_output: bool,
    /// Whether the daemon refuses to run as root, so that it must be started as its user.
    pub(super) refuses_root: bool,
}

const PLAIN: Daemon = Daemon {
    program: "",
    drop: &[],
    add: &[],
    instead: &[],
    shell: None,
    signal: None,
    logs_to_output: false,
    refuses_root: false,
};

/// Returns a daemon that these arguments keep in the foreground.
const fn add(program: &'static str, add: &'static [&'static str]) -> Daemon {
    Daemon { program, add, ..PLAIN }
}

/// Returns a daemon that stays in the foreground without this option.
const fn without(program: &'static str, drop: &'static [(&'static str, bool)]) -> Daemon {
    Daemon { program, drop, ..PLAIN }
}

/// Known daemons by executable. Source: manual page of each daemon.
const DAEMONS: &[Daemon] = &[
    Daemon {
        program: "nginx",
        drop: &[("-g", true)],
        add: &["-g", "daemon off;"],
        signal: Some("QUIT"),
        logs_to_output: true,
        ..PLAIN
    },
    Daemon {
        program: "apache2",
        instead: &["/usr/sbin/apache2", "-DFOREGROUND"],
        shell: Some("/etc/apache2/envvars"),
        signal: Some("WINCH"),
        logs_to_output: true,
        ..PLAIN
    },
    Daemon {
        program: "httpd",
        drop: &[("-k", true)],
        add: &["-DFOREGROUND"],
        signal: Some("WINCH"),
        logs_to_output: true,
        ..PLAIN
    },
    // SIGINT requests a fast shutdown: the server closes client connections. SIGTERM waits for
    // clients (postgres(1)).
    Daemon { program: "postgres", signal: Some("INT"), refuses_root: true, ..PLAIN },
    Daemon { program: "master", instead: &["/usr/sbin/postfix", "start-fg"], ..PLAIN },
    Daemon { program: "exim4", drop: &[("-bd", false)], add: &["-bdf"], ..PLAIN },
    Daemon { program: "exim", drop: &[("-bd", false)], add: &["-bdf"], ..PLAIN },
    Daemon { program: "haproxy", drop: &[("-D", false), ("-daemon", false)], add: &["-db"], ..PLAIN },
    Daemon {
        program: "php-fpm*",
        drop: &[("--daemonize", false), ("-D", false)],
        add: &["--nodaemonize"],
        signal: Some("QUIT"),
        ..PLAIN
    },
    Daemon { program: "redis-server", drop: &[("--daemonize", true)], add: &["--daemonize", "no"], ..PLAIN },
    Daemon { program: "valkey-server", drop: &[("--daemonize", true)], add: &["--daemonize", "no"], ..PLAIN },
    Daemon { program: "snmpd", drop: &[], add: &["-f"], ..PLAIN },
    Daemon { program: "squid", drop: &[("-D", false)], add: &["--foreground"], ..PLAIN },
    Daemon { program: "uwsgi*", drop: &[("--daemonize", true), ("-d", true)], signal: Some("INT"), ..PLAIN },
    Daemon { program: "openvpn", drop: &[("--daemon", false)], ..PLAIN },
    Daemon {
        program: "tor",
        drop: &[("--RunAsDaemon", true)],
        add: &["--RunAsDaemon", "0"],
        signal: Some("INT"),
        ..PLAIN
    },
    without("memcached", &[("-d", false), ("--daemon", false)]),
    without("mosquitto", &[("-d", false), ("--daemon", false)]),
    without("mongod", &[("--fork", false)]),
    without("gunicorn*", &[("--daemon", false), ("-D", false)]),
    without("celery", &[("--detach", false)]),
    without("mysqld", &[("--daemonize", false)]),
    without("mariadbd", &[("--daemonize", false)]),
    add("named", &["-f"]),
    add("cron", &["-f"]),
    add("crond", &["-n"]),
    add("atd", &["-f"]),
    add("rsyslogd", &["-n"]),
    add("dovecot", &["-F"]),
    add("sshd", &["-D", "-e"]),
    add("lighttpd", &["-D"]),
    add("unbound", &["-d"]),
    add("nsd", &["-d"]),
    add("dnsmasq", &["--keep-in-foreground"]),
    add("slapd", &["-d", "0"]),
    add("proftpd", &["--nodaemon"]),
    add("vsftpd", &["-obackground=NO"]),
    add("smbd", &["--foreground", "--no-process-group"]),
    add("nmbd", &["--foreground", "--no-process-group"]),
    add("tinyproxy", &["-d"]),
    add("varnishd", &["-F"]),
    add("privoxy", &["--no-daemon"]),
    add("xinetd", &["-dontfork"]),
    add("inetd", &["-i"]),
    add("minidlnad", &["-S"]),
    add("keepalived", &["--dont-fork"]),
    add("radvd", &["--nodaemon"]),
    add("zabbix_server", &["-f"]),
    add("zabbix_proxy", &["-f"]),
    add("zabbix_agentd", &["-f"]),
    add("munin-node", &["--foreground"]),
    add("opendkim", &["-f"]),
    add("opendmarc", &["-f"]),
    add("clamd", &["--foreground=true"]),
    add("freshclam", &["--foreground=true"]),
    add("fetchmail", &["--nodetach"]),
    add("supervisord", &["--nodaemon"]),
    add("cupsd", &["-f"]),
    add("dhcpd", &["-f"]),
    add("asterisk", &["-f"]),
    add("freeradius", &["-f"]),
    add("radiusd", &["-f"]),
    add("bird", &["-f"]),
    add("monit", &["-I"]),
    add("prosody", &["-F"]),
    add("znc", &["--foreground"]),
    add("inspircd", &["--nofork"]),
    add("ngircd", &["--nodaemon"]),
    add("stubby", &[]),
    add("beanstalkd", &[]),
    add("pdns_server", &["--daemon=no"]),
    add("pdns_recursor", &["--daemon=no"]),
    add("knotd", &[]),
    add("murmurd", &["-fg"]),
    add("icecast2", &[]),
    add("pure-ftpd", &[]),
    add("nrpe", &["-f"]),
    add("gearmand", &[]),
    add("spamd", &[]),
    add("rspamd", &["-f"]),
    add("milter-greylist", &["-D"]),
    add("ntpd", &["-n"]),
    add("chronyd", &["-d"]),
    add("rpcbind", &["-f"]),
];

/// Returns the properties of the daemon with this file name.
pub(super) fn known(program: &[u8]) -> Option<&'static Daemon> {
    static PROGRAMS: LazyLock<GlobSet> =
        LazyLock::new(|| GlobSet::new(DAEMONS.iter().map(|daemon| daemon.program.as_bytes())));
    PROGRAMS.first(program, |_| true).map(|id| &DAEMONS[id as usize])
}

impl Daemon {
    /// Converts a command that starts the daemon in the background to one for the foreground.
    pub(super) fn foreground(&self, command: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let owned = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        if !self.instead.is_empty() {
            return owned(self.instead);
        }
        let added = owned(self.add);
        let mut words = Vec::new();
        let mut skip = false;
        for (index, word) in command.iter().enumerate() {
            if std::mem::take(&mut skip) {
                continue;
            }
            if index > 0
                && let Some((_, with_value)) = self.drop.iter().find(|(option, _)| word == option.as_bytes())
            {
                skip = *with_value;
                continue;
            }
            words.push(word.clone());
        }
        let is_present = !added.is_empty() && words.windows(added.len()).any(|window| window == added);
        if !is_present {
            words.extend(added);
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Vec<u8>> {
        line.split('|').map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn foreground_background_command_gets_foreground_options() {
        for (program, command, foreground) in [
            ("nginx", "/usr/sbin/nginx|-g|daemon on; master_process on;", "/usr/sbin/nginx|-g|daemon off;"),
            ("nginx", "/usr/sbin/nginx|-c|/etc/n.conf", "/usr/sbin/nginx|-c|/etc/n.conf|-g|daemon off;"),
            ("apache2", "/usr/sbin/apache2|-k|start", "/usr/sbin/apache2|-DFOREGROUND"),
            ("named", "/usr/sbin/named|-f|-u|bind", "/usr/sbin/named|-f|-u|bind"),
            ("dnsmasq", "/usr/sbin/dnsmasq|-x|/run/p", "/usr/sbin/dnsmasq|-x|/run/p|--keep-in-foreground"),
            (
                "redis-server",
                "redis-server|/etc/r.conf|--daemonize|yes",
                "redis-server|/etc/r.conf|--daemonize|no",
            ),
            ("memcached", "/usr/bin/memcached|-d|-m|64", "/usr/bin/memcached|-m|64"),
            ("php-fpm8.2", "/usr/sbin/php-fpm8.2", "/usr/sbin/php-fpm8.2|--nodaemonize"),
            (
                "postgres",
                "/usr/lib/postgresql/15/bin/postgres|-D|/x",
                "/usr/lib/postgresql/15/bin/postgres|-D|/x",
            ),
        ] {
            let daemon = known(program.as_bytes()).unwrap();
            assert_eq!(daemon.foreground(&words(command)), words(foreground), "{program}");
        }
        assert_eq!(known(b"unknown-daemon"), None);
    }

    #[test]
    fn known_each_table_row_is_found_by_its_own_name() {
        for daemon in DAEMONS {
            let program = daemon.program.trim_end_matches('*');
            assert_eq!(known(program.as_bytes()).map(|found| found.program), Some(daemon.program));
        }
    }
}
