//! seccomp filters that stop selected calls for the tracer or return an error from them.

use std::io;

/// `AUDIT_ARCH_X86_64` of `linux/audit.h`.
const ARCHITECTURE: u32 = 0xc000_003e;

/// A filter program, ready to be installed in a child between fork and exec.
#[derive(Clone)]
pub struct Filter(Vec<libc::sock_filter>);

impl Filter {
    /// Stops for the tracer at these calls.
    pub fn tracing(numbers: &[i64]) -> Self {
        Self::answering(numbers, libc::SECCOMP_RET_TRACE)
    }

    /// Stops for the tracer at every call.
    pub fn tracing_all() -> Self {
        Filter(vec![statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_TRACE)])
    }

    /// Answers these calls with `errno` instead of making them.
    pub fn failing(numbers: &[i64], errno: i32) -> Self {
        Self::answering(numbers, libc::SECCOMP_RET_ERRNO | errno as u32)
    }

    fn answering(numbers: &[i64], answer: u32) -> Self {
        let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
        let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        let mut program = vec![
            // seccomp_data.arch, then .nr: numbers mean something else on another architecture.
            statement(load, 4),
            jump(equal, ARCHITECTURE, 1, 0),
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_KILL_PROCESS),
            statement(load, 0),
        ];
        // A return after each comparison: jumps reach no further than 255 instructions.
        for &number in numbers {
            program.push(jump(equal, number as u32, 0, 1));
            program.push(statement(libc::BPF_RET | libc::BPF_K, answer));
        }
        program.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
        Filter(program)
    }

    /// Puts the filter on this process, for good; async-signal-safe.
    pub fn install(&self) -> io::Result<()> {
        let program = libc::sock_fprog { len: self.0.len() as u16, filter: self.0.as_ptr().cast_mut() };
        // SAFETY: the program lives until the call has returned; the kernel copies it and writes
        // nothing.
        let done =
            unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

fn statement(code: u32, k: u32) -> libc::sock_filter {
    jump(code, k, 0, 0)
}

fn jump(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}
