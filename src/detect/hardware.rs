//! Reads memory, CPUs, kernel release and hypervisor from `/proc` and `/sys`.

use super::process_files::{decimal, words};
use crate::model::findings::{self, Findings};
use crate::system::root::Root;
use serde::Serialize;
use std::io;

/// Prefixes of vendors and products in DMI tables, with the hypervisor that writes them.
///
/// From systemd's `src/basic/virt.c`, with the names of `systemd-detect-virt(1)`.
const FIRMWARE: &[(&str, &str)] = &[
    ("KVM", "kvm"),
    ("OpenStack", "kvm"),
    ("KubeVirt", "kvm"),
    ("Google Compute Engine", "google"),
    ("Amazon EC2", "amazon"),
    ("QEMU", "qemu"),
    ("VMware", "vmware"),
    ("VMW", "vmware"),
    ("innotek GmbH", "oracle"),
    ("VirtualBox", "oracle"),
    ("Oracle Corporation", "oracle"),
    ("Xen", "xen"),
    ("Bochs", "bochs"),
    ("Parallels", "parallels"),
    ("BHYVE", "bhyve"),
    ("Hyper-V", "microsoft"),
    ("Virtual Machine", "microsoft"),
    ("Apple Virtualization", "apple"),
];

/// Hardware of the machine as its kernel reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Hardware {
    /// Main memory and swap.
    pub memory: Memory,
    /// CPUs.
    pub processors: Processors,
    /// Limits of the control groups in which vm2docker-self runs. Without a container, there are
    /// usually none.
    pub limits: GroupLimits,
    /// Kernel release.
    pub kernel: String,
    /// Hypervisor, with the names of `systemd-detect-virt(1)`; `unknown` if only the CPU flags
    /// indicate one.
    pub hypervisor: Option<&'static str>,
    /// Vendor and product in the DMI tables, or the model in the device tree.
    pub product: Option<String>,
    /// First and last ephemeral port. Sockets on these ports rarely belong to a service.
    pub client_ports: Option<(u16, u16)>,
}

/// Memory in bytes (`proc_meminfo(5)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Memory {
    /// Main memory that the kernel manages.
    pub total: u64,
    /// Memory that is available without swapping; before Linux 3.14, free memory.
    pub available: u64,
    /// Swap space.
    pub swap: u64,
    /// Unused swap space.
    pub swap_free: u64,
}

/// CPUs of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Processors {
    /// Number of online CPUs; 0 if unknown.
    pub online: usize,
    /// Model in `/proc/cpuinfo`.
    pub model: Option<String>,
    /// Vendor in `/proc/cpuinfo`; on ARM, the implementer's number.
    pub vendor: Option<String>,
}

/// Lowest limits of a control group and its ancestors
/// (`Documentation/admin-guide/cgroup-v2.rst`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GroupLimits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// CPU time in thousandths of a CPU.
    pub processor: Option<u64>,
}

impl Hardware {
    /// Reads `proc` and `sys` below the machine's root.
    pub fn load(root: &Root, findings: &mut Findings) -> Hardware {
        let mut needed = |path: &[u8]| {
            root.read(path).unwrap_or_else(|cause| {
                findings.note(findings::Kind::Hardware, path, cause.to_string());
                Vec::new()
            })
        };
        let memory = memory(&needed(b"proc/meminfo"));
        let cpuinfo = needed(b"proc/cpuinfo");
        let kernel = text(&needed(b"proc/sys/kernel/osrelease")).unwrap_or_default();
        let online = root.read(b"sys/devices/system/cpu/online").ok().and_then(|list| count(&list));
        let fields = ["sys_vendor", "product_name", "board_vendor", "bios_vendor"];
        let firmware: Vec<String> = fields
            .iter()
            .filter_map(|name| text(&root.read(format!("sys/class/dmi/id/{name}").as_bytes()).ok()?))
            .collect();
        let product = match root.read(b"sys/class/dmi/id/product_name") {
            Ok(_) => Some(firmware.iter().take(2).cloned().collect::<Vec<_>>().join(" ")),
            Err(_) => root.read(b"proc/device-tree/model").ok().and_then(|model| text(&model)),
        };
        Hardware {
            memory,
            processors: Processors {
                online: online.unwrap_or_else(|| listed_processors(&cpuinfo)),
                model: first_value(
                    &cpuinfo,
                    &["model name", "cpu model", "cpu", "uarch", "Processor", "machine"],
                ),
                vendor: first_value(&cpuinfo, &["vendor_id", "CPU implementer", "vendor"]),
            },
            limits: group_limits(root),
            kernel,
            hypervisor: hypervisor(root, &cpuinfo, &firmware),
            product: product.filter(|product| !product.is_empty()),
            client_ports: root
                .read(b"proc/sys/net/ipv4/ip_local_port_range")
                .ok()
                .and_then(|text| range(&text)),
        }
    }
}

/// Parses `/proc/meminfo`. Missing fields are 0.
pub fn memory(text: &[u8]) -> Memory {
    let value = |name: &[u8]| {
        let rest =
            text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(name)?.strip_prefix(b":"))?;
        decimal::<u64>(words(rest).next()?)?.checked_mul(1024)
    };
    Memory {
        total: value(b"MemTotal").unwrap_or_default(),
        available: value(b"MemAvailable").or_else(|| value(b"MemFree")).unwrap_or_default(),
        swap: value(b"SwapTotal").unwrap_or_default(),
        swap_free: value(b"SwapFree").unwrap_or_default(),
    }
}

/// Returns how many numbers a list such as `0-3,5` contains (`cpuset(7)`).
fn count(list: &[u8]) -> Option<usize> {
    list.trim_ascii().split(|&byte| byte == b',').try_fold(0, |total: usize, part| {
        let mut ends = part.splitn(2, |&byte| byte == b'-').map(decimal::<usize>);
        let first = ends.next()??;
        let last = ends.next().unwrap_or(Some(first))?;
        total.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

/// Returns the number of CPUs in `/proc/cpuinfo`. Each has a line `processor : N`, on s390
/// `processor N:`.
fn listed_processors(cpuinfo: &[u8]) -> usize {
    let is_entry = |line: &&[u8]| {
        let number = line.strip_prefix(b"processor").map(|rest| rest.trim_ascii_start());
        let number = number.map(|rest| rest.strip_prefix(b":").unwrap_or(rest).trim_ascii());
        let number = number.and_then(|rest| rest.split(|&byte| byte == b':').next());
        number.is_some_and(|number| decimal::<u32>(number).is_some())
    };
    cpuinfo.split(|&byte| byte == b'\n').filter(is_entry).count()
}

/// Returns the first value in `/proc/cpuinfo` of the first key that exists.
fn first_value(cpuinfo: &[u8], keys: &[&str]) -> Option<String> {
    let value = |key: &str| {
        cpuinfo.split(|&byte| byte == b'\n').find_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            let is_key = line[..colon].trim_ascii().eq_ignore_ascii_case(key.as_bytes());
            // Old ARM kernels use the key `Processor` for the model and `processor` for the
            // number.
            text(&line[colon + 1..]).filter(|value| is_key && value.parse::<u32>().is_err())
        })
    };
    keys.iter().find_map(|key| value(key))
}

fn hypervisor(root: &Root, cpuinfo: &[u8], firmware: &[String]) -> Option<&'static str> {
    let known =
        |text: &String| FIRMWARE.iter().find(|(prefix, _)| text.starts_with(prefix)).map(|(_, name)| *name);
    let is_there =
        |path: &[u8]| !matches!(root.list(path), Err(cause) if cause.kind() == io::ErrorKind::NotFound);
    let holds = |path: &[u8], part: &[u8]| {
        root.read(path).is_ok_and(|text| memchr::memmem::find(&text, part).is_some())
    };
    let flags = |line: &[u8]| line.starts_with(b"flags") && words(line).any(|flag| flag == b"hypervisor");
    let is_emulated = cpuinfo.split(|&byte| byte == b'\n').any(flags);
    if let Some(name) = firmware.iter().find_map(known) {
        // The same vendors make physical machines. x86 CPUs have a flag for a hypervisor.
        let is_x86 = cpuinfo.windows(6).any(|window| window == b"\nflags");
        return (is_emulated || !is_x86).then_some(name);
    }
    let compatible = b"proc/device-tree/hypervisor/compatible";
    match () {
        _ if is_there(b"proc/xen") || holds(b"sys/hypervisor/type", b"xen") || holds(compatible, b"xen") => {
            Some("xen")
        }
        _ if holds(compatible, b"linux,kvm") => Some("kvm"),
        _ if holds(compatible, b"vmware") => Some("vmware"),
        _ if holds(b"proc/sysinfo", b"Control Program: KVM") => Some("kvm"),
        _ if holds(b"proc/sysinfo", b"Control Program: z/VM") => Some("zvm"),
        _ if is_emulated => Some("unknown"),
        _ => None,
    }
}

fn group_limits(root: &Root) -> GroupLimits {
    let own = root.read(b"proc/self/cgroup").unwrap_or_default();
    let mut path = super::cgroup::path_of(&own);
    let mut limits = GroupLimits::default();
    let tighter = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
    loop {
        let read = |name: &str| {
            root.read(&[b"sys/fs/cgroup", path, b"/", name.as_bytes()].concat()).unwrap_or_default()
        };
        limits.memory = tighter(limits.memory, decimal(read("memory.max").trim_ascii()));
        limits.processor = tighter(limits.processor, processor_share(&read("cpu.max")));
        let Some(end) = path.iter().rposition(|&byte| byte == b'/') else { return limits };
        path = &path[..end];
    }
}

/// Parses `cpu.max`, which contains the quota and the period in microseconds. Returns thousandths
/// of a CPU.
fn processor_share(text: &[u8]) -> Option<u64> {
    let mut numbers = words(text).map(decimal::<u64>);
    let (quota, period) = (numbers.next()??, numbers.next()??);
    quota.checked_mul(1000)?.checked_div(period)
}

fn range(text: &[u8]) -> Option<(u16, u16)> {
    let mut numbers = words(text).map(decimal);
    Some((numbers.next()??, numbers.next()??))
}

/// Returns a line of the kernel or the firmware as text. Device trees end it with a zero byte.
fn text(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes.strip_suffix(b"\0").unwrap_or(bytes)).trim().to_owned();
    (!text.is_empty()).then_some(text)
}
