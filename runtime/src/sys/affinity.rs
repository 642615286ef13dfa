//! Which processors a thread may run on.

pub use system::{allowed, current, stay_on};

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::ffi::c_int;

    /// A bit for each of the first 1,024 processors, as libc's `cpu_set_t`.
    type Set = [u64; 16];

    unsafe extern "C" {
        fn sched_getaffinity(thread: c_int, size: usize, set: *mut Set) -> c_int;
        fn sched_setaffinity(thread: c_int, size: usize, set: *const Set) -> c_int;
        fn sched_getcpu() -> c_int;
    }

    /// The processors of this thread, none where the system does not say.
    pub fn allowed() -> Vec<u32> {
        let mut set = [0; 16];
        // SAFETY: the system writes at most the size that it is told.
        let failed = unsafe { sched_getaffinity(0, size_of::<Set>(), &mut set) } < 0;
        let is_in = |processor: &u32| set[*processor as usize / 64] >> (processor % 64) & 1 == 1;
        if failed { Vec::new() } else { (0..64 * set.len() as u32).filter(is_in).collect() }
    }

    /// The processor that this thread runs on.
    pub fn current() -> Option<u32> {
        // SAFETY: it reads nothing of ours.
        u32::try_from(unsafe { sched_getcpu() }).ok()
    }

    /// This thread runs on these processors from now on; where the system refuses, it stays as it was.
    pub fn stay_on(processors: &[u32]) {
        let mut set = [0; 16];
        for processor in processors {
            set[*processor as usize / 64] |= 1u64 << (processor % 64);
        }
        // SAFETY: the system reads as much as it is told.
        unsafe { sched_setaffinity(0, size_of::<Set>(), &set) };
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    pub fn allowed() -> Vec<u32> {
        Vec::new()
    }

    pub fn current() -> Option<u32> {
        None
    }

    pub fn stay_on(_: &[u32]) {}
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_where_it_is_told() {
        let work = || {
            let all = allowed();
            assert!(all.contains(&current().unwrap()));
            for processor in &all {
                stay_on(&[*processor]);
                assert_eq!((allowed(), current()), (vec![*processor], Some(*processor)));
            }
            stay_on(&all);
            assert_eq!(allowed(), all);
        };
        std::thread::spawn(work).join().unwrap();
    }
}
