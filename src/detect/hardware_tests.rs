//! Tests of hardware and kernel parameters with fixtures that follow real machines.

use crate::detect::fixtures::{tree, unpack};
use crate::detect::hardware::*;
use crate::detect::sysctl::{self, Setting};
use crate::model::findings::{self, Findings};
use crate::system::root::Root;
use std::path::Path;

fn hardware(files: &[(&str, &str)]) -> Hardware {
    Hardware::load(&tree(files).1, &mut Findings::default())
}

const X86: &str = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon @ 2.20GHz\nflags\t\t: fpu hypervisor\n\n\
                   processor\t: 1\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon @ 2.20GHz\nflags\t\t: fpu hypervisor\n";

#[test]
fn hardware_cpuinfo_of_each_architecture_is_parsed() {
    for (cpuinfo, online, model, vendor) in [
        (X86, 2, Some("Xeon @ 2.20GHz"), Some("GenuineIntel")),
        (
            "processor\t: 0\nBogoMIPS\t: 50\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n",
            1,
            None,
            Some("0x41"),
        ),
        ("Processor\t: ARMv7 rev 3\nprocessor\t: 0\nprocessor\t: 1\n", 2, Some("ARMv7 rev 3"), None),
        ("processor\t: 0\ncpu\t\t: POWER7 (raw)\nmachine\t: CHRP IBM\n", 1, Some("POWER7 (raw)"), None),
        (
            "vendor_id       : IBM/S390\n# processors    : 1\nprocessor 0: version = FF,  identification = 1\n",
            1,
            None,
            Some("IBM/S390"),
        ),
        ("\u{0}\n:\nprocessor\nprocessor:\n", 0, None, None),
        ("", 0, None, None),
    ] {
        let processors = hardware(&[("proc/cpuinfo", cpuinfo)]).processors;
        let (model, vendor) = (model.map(str::to_owned), vendor.map(str::to_owned));
        assert_eq!(processors, Processors { online, model, vendor }, "{cpuinfo}");
    }
    for (list, online) in [("0-3,5\n", 5), ("0", 1), ("3-1", 2), ("x", 2), ("0-18446744073709551615", 2)] {
        let files = [("proc/cpuinfo", X86), ("sys/devices/system/cpu/online", list)];
        assert_eq!(hardware(&files).processors.online, online, "{list}");
    }
}

#[test]
fn hypervisor_is_detected_from_firmware_cpu_or_device_tree() {
    let bare = X86.replace(" hypervisor", "");
    let vendor = "sys/class/dmi/id/sys_vendor";
    let product = "sys/class/dmi/id/product_name";
    for (files, hypervisor) in [
        (vec![("proc/cpuinfo", X86), (vendor, "QEMU\n"), (product, "Standard PC\n")], Some("qemu")),
        (vec![("proc/cpuinfo", X86), (vendor, "VMware, Inc.\n"), (product, "VMware7,1\n")], Some("vmware")),
        (vec![("proc/cpuinfo", X86), (vendor, "innotek GmbH\n")], Some("oracle")),
        (
            vec![("proc/cpuinfo", X86), (vendor, "Microsoft Corporation\n"), (product, "Virtual Machine\n")],
            Some("microsoft"),
        ),
        (vec![("proc/cpuinfo", X86), (vendor, "Unheard Of\n")], Some("unknown")),
        (vec![("proc/cpuinfo", X86)], Some("unknown")),
        (vec![("proc/cpuinfo", &bare), (vendor, "Oracle Corporation\n"), (product, "SUN FIRE\n")], None),
        (vec![("proc/cpuinfo", &bare), ("proc/xen/capabilities", "")], Some("xen")),
        (vec![("proc/cpuinfo", "processor : 0\n"), (vendor, "QEMU\n")], Some("qemu")),
        (vec![("proc/device-tree/hypervisor/compatible", "linux,kvm\0")], Some("kvm")),
        (vec![("proc/sysinfo", "VM00 Control Program: KVM/Linux\n")], Some("kvm")),
        (vec![], None),
    ] {
        assert_eq!(hardware(&files).hypervisor, hypervisor, "{files:?}");
    }
    let named = hardware(&[(vendor, "Example Ltd \n"), (product, "Server 1\n")]);
    assert_eq!(named.product.as_deref(), Some("Example Ltd Server 1"));
    assert_eq!(hardware(&[(vendor, "Example Ltd\n")]).product, None);
}

#[test]
fn hardware_memory_limits_and_ports_are_read() {
    let (_directory, root) = unpack("prometheus.tar.xz");
    let memory = Hardware::load(&root, &mut Findings::default()).memory;
    assert_eq!((memory.total, memory.swap), (15_666_184 << 10, 0));
    for (text, available) in
        [("MemFree: 1 kB\n", 1024), ("MemAvailable: 2 kB\nMemFree: 1 kB\n", 2048), ("MemFree: x", 0)]
    {
        assert_eq!(super::hardware::memory(text.as_bytes()).available, available);
    }
    let limited = hardware(&[
        ("proc/self/cgroup", "0::/a/b\n"),
        ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
        ("sys/fs/cgroup/a/memory.max", "1000\n"),
        ("sys/fs/cgroup/a/b/memory.max", "max\n"),
        ("sys/fs/cgroup/memory.max", "2000\n"),
        ("sys/fs/cgroup/a/b/cpu.max", "150000 100000\n"),
        ("sys/fs/cgroup/a/cpu.max", "max 100000\n"),
        ("sys/fs/cgroup/cpu.max", "1 0\n"),
    ]);
    assert_eq!(limited.limits, GroupLimits { memory: Some(1000), processor: Some(1500) });
    assert_eq!(limited.client_ports, Some((32768, 60999)));
}

#[test]
fn hardware_this_machine_adds_no_finding() {
    let mut findings = Findings::default();
    let hardware = Hardware::load(&Root::open(Path::new("/")).unwrap(), &mut findings);
    assert!(hardware.memory.total >= hardware.memory.available && hardware.memory.available > 0);
    assert!(hardware.processors.online > 0 && !hardware.kernel.is_empty());
    assert_eq!(findings, Findings::default());
}

#[test]
fn sysctl_parse_follows_systemd_rules() {
    let set = |path: &str, value: &str| Setting::Set(path.into(), value.into());
    let text = b"# comment\n; comment\n net.ipv4.ip_forward = 1 \nkernel/domainname=example.org\n\
        -net.ipv4.conf.eth0/1.rp_filter=0\nnet/ipv4/conf/eth0.1/x = a=b\n-net.ipv4.conf.lo.rp_filter\n\
        no value\n= 1\nnet..x = 1\n../etc/passwd = 1\n/abs = 1\nempty =\nnet.core.\xff = \xff\n";
    assert_eq!(
        sysctl::parse(text),
        [
            set("net/ipv4/ip_forward", "1"),
            set("kernel/domainname", "example.org"),
            set("net/ipv4/conf/eth0.1/rp_filter", "0"),
            set("net/ipv4/conf/eth0.1/x", "a=b"),
            Setting::Except(b"net/ipv4/conf/lo/rp_filter".to_vec()),
            set("empty", ""),
            Setting::Set(b"net/core/\xff".to_vec(), b"\xff".to_vec()),
        ]
    );
    for (path, is_namespaced) in [
        ("net/ipv4/ip_forward", true),
        ("net/core/somaxconn", true),
        ("net/core/rmem_max", false),
        ("net/ipv4/tcp_mem", false),
        ("net/ipv4/tcp_rmem", true),
        ("net/netfilter/nf_conntrack_max", false),
        ("net/ipv4/conf/all/rp_filter", true),
        ("net/ipv6/conf/eth0/accept_ra", false),
        ("net/ipv4/neigh/default/gc_thresh3", false),
        ("kernel/shmmax", true),
        ("kernel/sem", true),
        ("fs/mqueue/msg_max", true),
        ("vm/swappiness", false),
        ("fs/file-max", false),
    ] {
        assert_eq!(sysctl::is_namespaced(path.as_bytes()), is_namespaced, "{path}");
    }
}

#[test]
fn sysctl_load_applies_precedence_of_files_and_full_names() {
    let (directory, root) = tree(&[
        ("usr/lib/sysctl.d/10-a.conf", "vm.swappiness = 1\nvm.overcommit_memory = 1\n"),
        ("usr/lib/sysctl.d/50-pid.conf", "kernel.pid_max = 4194304\n"),
        ("usr/lib/sysctl.d/60-masked.conf", "vm.masked = 1\n"),
        ("etc/sysctl.d/10-a.conf", "vm.swappiness = 10\n"),
        ("etc/sysctl.d/20-b.conf", "net.ipv4.conf.eth0.rp_filter = 0\nnet.ipv4.tcp_fastopen_key = 1-2-3-4\n"),
        ("etc/sysctl.d/30-c.conf", "net.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.lo.rp_filter\n"),
        ("etc/sysctl.d/README", "vm.readme = 1\n"),
        ("etc/sysctl.conf", "vm.swappiness = 20\n"),
        ("proc/sys/vm/swappiness", "20\n"),
        ("proc/sys/net/ipv4/conf/all/rp_filter", "2\n"),
        ("proc/sys/net/ipv4/conf/eth0/rp_filter", "0\n"),
        ("proc/sys/net/ipv4/conf/lo/rp_filter", "1\n"),
    ]);
    std::os::unix::fs::symlink("/dev/null", directory.path().join("etc/sysctl.d/60-masked.conf")).unwrap();
    let mut findings = Findings::default();
    let rows = |root: &Root, findings: &mut Findings| -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let row = |sysctl: sysctl::Sysctl| {
            let current = sysctl.current.as_deref().map_or("-".into(), text);
            format!("{} {} {current} {}", text(&sysctl.name()), text(&sysctl.configured), text(&sysctl.file))
        };
        sysctl::load(root, findings).into_iter().map(row).collect()
    };
    assert_eq!(
        rows(&root, &mut findings),
        [
            "kernel.pid_max 4194304 - usr/lib/sysctl.d/50-pid.conf",
            "net.ipv4.conf.all.rp_filter 2 2 etc/sysctl.d/30-c.conf",
            "net.ipv4.conf.eth0.rp_filter 0 0 etc/sysctl.d/20-b.conf",
            "vm.swappiness 20 20 etc/sysctl.conf",
        ]
    );
    assert_eq!(
        findings.sorted().iter().map(|finding| finding.kind).collect::<Vec<_>>(),
        [findings::Kind::Withheld]
    );
    std::os::unix::fs::symlink("../sysctl.conf", directory.path().join("etc/sysctl.d/99-sysctl.conf"))
        .unwrap();
    let linked = rows(&root, &mut findings);
    assert!(linked.contains(&"vm.swappiness 20 20 etc/sysctl.d/99-sysctl.conf".to_owned()), "{linked:?}");
}
