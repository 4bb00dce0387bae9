//! Keeps libraries from capturing backtraces, in a program that is linked without the tables for them: the C runtime's unwinder
//! ends a program that has none.

/// What asks for them (`std::backtrace`, "Environment Variables").
const VARIABLES: [&str; 2] = ["RUST_BACKTRACE", "RUST_LIB_BACKTRACE"];

/// Takes the variables that ask for backtraces out of the environment. To be called first: once there is more than one
/// thread it does nothing and returns false.
pub fn keep_off() -> bool {
    let is_alone = std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1);
    for variable in VARIABLES.into_iter().filter(|_| is_alone) {
        // SAFETY: there is no other thread, so nobody reads the environment meanwhile.
        unsafe { std::env::remove_var(variable) };
    }
    is_alone
}

#[cfg(test)]
mod tests {
    #[test]
    fn beside_other_threads_nothing_is_done() {
        // The test runner's own thread is the other one.
        assert!(!super::keep_off());
    }
}
