//! Which service asks for which withheld file.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use support::fixture::{self, Deb};
use support::tool::Place;

/// Units `shop` and `worker` share a directory. nginx passes on `blog` to PHP, and apache2 runs
/// phpMyAdmin.
const MACHINE: &str = r##"
file 0644 0:0 /usr/lib/os-release "ID=debian\nVERSION_ID=\"12\"\n"
file 0644 0:0 /etc/passwd "root:x:0:0:root:/root:/bin/sh\nshop:x:999:998::/srv/shop:/usr/sbin/nologin\n"
file 0644 0:0 /etc/group "root:x:0:\nshop:x:998:\n"
file 0755 0:0 /usr/sbin/nginx "x"
file 0755 0:0 /usr/sbin/apache2 "x"
file 0755 0:0 /usr/sbin/slapd "x"
file 0755 0:0 /usr/sbin/php-fpm8.2 "x"
file 0755 0:0 /usr/bin/python3 "x"
file 0755 0:0 /usr/bin/backup "x"
file 0644 0:0 /etc/systemd/system/nightly.service "[Service]\nExecStart=/usr/bin/backup /srv/shop\n"
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/nightly.service ../nightly.service
file 0644 0:0 /etc/systemd/system/nginx.service "[Service]\nExecStart=/usr/sbin/nginx\n"
file 0644 0:0 /etc/systemd/system/apache2.service "[Service]\nExecStart=/usr/sbin/apache2 -DFOREGROUND\n"
file 0644 0:0 /etc/systemd/system/slapd.service "[Service]\nExecStart=/usr/sbin/slapd\n"
file 0644 0:0 /etc/systemd/system/php8.2-fpm.service "[Service]\nExecStart=/usr/sbin/php-fpm8.2\n"
file 0644 0:0 /etc/systemd/system/shop.service "[Service]\nUser=shop\nWorkingDirectory=/srv/shop/current\nExecStart=/usr/bin/python3 server.py\n"
file 0644 0:0 /etc/systemd/system/worker.service "[Service]\nExecStart=/usr/bin/python3 /srv/shop/current/worker.py --config=/etc/worker/main.conf\n"
file 0644 0:0 /etc/systemd/system/metrics.service "[Service]\nStateDirectory=metrics-data\nExecStart=/opt/metrics/bin/metrics\n"
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/nginx.service ../nginx.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/apache2.service ../apache2.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/slapd.service ../slapd.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/php8.2-fpm.service ../php8.2-fpm.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/shop.service ../shop.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/worker.service ../worker.service
link 0777 0:0 /etc/systemd/system/multi-user.target.wants/metrics.service ../metrics.service
file 0644 0:0 /usr/lib/systemd/system/multi-user.target "[Unit]\n"
link 0777 0:0 /etc/systemd/system/default.target /usr/lib/systemd/system/multi-user.target
file 0644 0:0 /etc/nginx/nginx.conf "server { root /srv/shop/public; }\nserver { root /var/www/blog/public; fastcgi_pass unix:/run/php/php8.2-fpm.sock; }\n"
file 0644 0:0 /etc/apache2/apache2.conf "IncludeOptional conf-enabled/*.conf\n"
link 0777 0:0 /etc/apache2/conf-enabled/phpmyadmin.conf ../../phpmyadmin/apache.conf
file 0644 0:0 /etc/phpmyadmin/apache.conf "Alias /phpmyadmin /usr/share/phpmyadmin\n<Directory /usr/share/phpmyadmin>\n</Directory>\n"
file 0644 0:0 /usr/share/phpmyadmin/index.php "x"
file 0644 0:0 /etc/apache2/conf-available/php8.2-fpm.conf "x"
file 0644 0:0 /etc/apache2/site.conf "SSLCertificateKeyFile /srv/keys/site.secret\n"
file 0644 0:0 /etc/ldap/schema/core.schema "x"
file 0644 0:0 /etc/ppp/ip-up.d/slapd "x"
dir 0755 0:0 /srv/shop/releases/7
link 0777 0:0 /srv/shop/current releases/7
file 0644 0:0 /srv/shop/releases/7/server.py "x"
file 0644 0:0 /srv/shop/releases/7/worker.py "x"
dir 0755 0:0 /srv/shop/public
file 0755 0:0 /opt/metrics/bin/metrics "x"
dir 0755 0:0 /var/lib/metrics-data
"##;

/// Withheld files, and the services that ask for them.
const SECRETS: &[(&str, &[&str])] = &[
    ("/srv/shop/shared/app.secret", &["shop", "worker"]),
    ("/srv/shop/releases/7/key.secret", &["shop", "worker"]),
    ("/etc/worker/tls.secret", &["worker"]),
    ("/opt/metrics/license.secret", &["metrics"]),
    ("/var/lib/metrics-data/id.secret", &["metrics"]),
    ("/etc/nginx/htpasswd.secret", &["nginx"]),
    ("/var/www/blog/config.secret", &["nginx", "php8-2-fpm"]),
    ("/etc/phpmyadmin/config-db.secret", &["apache2"]),
    ("/etc/ldap/slapd.d/cn=config/olcDatabase={1}mdb.secret", &["slapd"]),
    // Named by a configuration to which another package adds a file.
    ("/srv/keys/site.secret", &["apache2"]),
    // Of no service.
    ("/etc/ssl/private/other.secret", &[]),
    ("/etc/ppp/chap.secret", &[]),
    ("/etc/other/x.secret", &[]),
    ("/srv/else/x.secret", &[]),
    ("/srv/top.secret", &[]),
    ("/root/x.secret", &[]),
    ("/srv/shop/.git/config.secret", &[]),
    ("/srv/shop/.ssh/authorized_keys.secret", &[]),
    ("/etc/nginx/htpasswd.secret.bak", &[]),
];

fn converted() -> (Place, Value) {
    let place = Place::new();
    let root = place.root("machine", MACHINE);
    for (path, _) in SECRETS {
        fixture::lay(&root, &format!("file 0640 0:998 {} \"x\"\n", fixture::quote(path.as_bytes())));
    }
    let deb = |name, files, conffiles| Deb { name, version: "1", files, conffiles, ..Deb::default() };
    let packages = [
        deb(
            "slapd",
            &["/usr/sbin/slapd", "/etc/ldap/schema/core.schema", "/etc/ppp/ip-up.d/slapd"][..],
            &[][..],
        ),
        deb("phpmyadmin", &["/usr/share/phpmyadmin/index.php", "/etc/phpmyadmin/apache.conf"], &[]),
        deb("php8.2-fpm", &["/usr/sbin/php-fpm8.2", "/etc/apache2/conf-available/php8.2-fpm.conf"], &[]),
        deb("apache2", &["/usr/sbin/apache2", "/etc/apache2/apache2.conf"], &[]),
        deb("nginx", &["/usr/sbin/nginx"], &[]),
        deb("backup", &["/usr/bin/backup"], &[]),
        deb("python3", &["/usr/bin/python3"], &[]),
    ];
    fixture::dpkg(&root, &packages);
    let policy = place.path("policy");
    fs::write(&policy, "withhold /**/*.secret\nwithhold /**/*.secret.bak\n").unwrap();
    let arguments =
        ["--offline", "--base-from", "none", "--packages", "carry", "--compress", "none", "--policy"];
    place.convert("ctx", &[&arguments[..], &[policy.to_str().unwrap()]].concat()).ends(0);
    let plan = serde_json::from_slice(&fs::read(place.path("ctx/plan.json")).unwrap()).unwrap();
    (place, plan)
}

/// Returns the names of the services that ask for a file.
fn users<'a>(plan: &'a Value, path: &str) -> BTreeSet<&'a str> {
    let files = plan["workload"]["secret_files"].as_array().unwrap();
    let Some(index) = files.iter().position(|file| file["path"] == path) else { return BTreeSet::new() };
    let services = plan["workload"]["services"].as_array().unwrap();
    let asks = |service: &&Value| service["secret_files"].as_array().unwrap().contains(&index.into());
    services.iter().filter(asks).map(|service| service["name"].as_str().unwrap()).collect()
}

#[test]
fn withheld_file_in_directory_of_a_service_is_needed_by_this_service() {
    let (place, plan) = converted();
    for (path, expected) in SECRETS {
        assert_eq!(users(&plan, path), expected.iter().copied().collect(), "{path}");
    }
    let entry = fs::read_to_string(place.path("ctx/services/metrics/entry")).unwrap();
    assert!(entry.contains("/opt/metrics/license.secret") && entry.contains("exit 78"), "{entry}");
}
