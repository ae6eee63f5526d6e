//! The place of the reading threads behind all others: for the cores, and for the disk.
//!
//! The imports read thousands of small files, one after the other. Measured on two cores and a disk with `mq-deadline`,
//! imports beside the reading take as long as without it when it is of the idle class and last for the cores; they take
//! a third longer when it is only last for the cores, and a later begin of the reading gains nothing (medians of five).

/// How the threads are ranked for the cores: last.
const NICENESS: i32 = 19;

/// `IOPRIO_WHO_PROCESS` of `ioprio_set(2)`: with 0, the calling thread.
const WHO_PROCESS: libc::c_int = 1;

/// `IOPRIO_CLASS_IDLE` of `ioprio_set(2)`, where the class stands in a priority. Schedulers without classes ignore it.
const CLASS_IDLE: libc::c_int = 3 << 13;

/// Makes way for all other threads; the threads that this one starts do so too.
pub(super) fn yield_to_others() {
    // Where it is not allowed, the threads run as all others do.
    let _ = rustix::process::setpriority_process(None, NICENESS);
    read_when_idle();
}

#[expect(unsafe_code, reason = "no safe interface has this system call")]
fn read_when_idle() {
    // SAFETY: the call takes three integers and no pointer, and changes nothing but the calling thread's priority.
    // What it returns matters no more than above.
    let _ = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0 as libc::c_int, CLASS_IDLE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(unsafe_code, reason = "no safe interface has this system call")]
    fn class_of_this_thread() -> libc::c_long {
        // SAFETY: the call takes two integers and no pointer.
        let priority = unsafe { libc::syscall(libc::SYS_ioprio_get, WHO_PROCESS, 0 as libc::c_int) };
        priority >> 13
    }

    #[test]
    fn a_thread_and_those_that_it_starts_make_way_and_no_others() {
        let before = class_of_this_thread();
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let nice_before = nice();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                yield_to_others();
                assert_eq!((class_of_this_thread(), nice()), (3, NICENESS));
                std::thread::scope(|scope| {
                    scope.spawn(|| assert_eq!((class_of_this_thread(), nice()), (3, NICENESS)));
                });
            });
        });
        assert_eq!((class_of_this_thread(), nice()), (before, nice_before));
    }
}
