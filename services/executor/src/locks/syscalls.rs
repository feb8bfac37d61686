//! The system calls that a statement's process may make: those of a computation with threads.

use std::{collections::BTreeMap, env::consts::ARCH};

use nix::{libc, unistd::getpid};
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

/// Calls that are allowed with any arguments.
const COMPUTATION: &[libc::c_long] = &[
    // What is open.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fstat,
    // Slices: Landlock says which, and `computation` that they are only read.
    libc::SYS_fcntl,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_pread64,
    libc::SYS_statx,
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    // Signals of its own.
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Time, chance, and what it uses.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];

/// Flags of `clone` that make a namespace.
const NAMESPACE_FLAGS: libc::c_int = libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWUTS;

/// Refuses every other call from now on, in this thread and those that it starts.
pub(super) fn restrict() -> anyhow::Result<()> {
    let process = u32::try_from(getpid().as_raw())?;
    for program in [without_clone3()?, computation(process)?] {
        seccompiler::apply_filter(&program)?;
    }
    Ok(())
}

/// `clone3` has its flags where a filter cannot read them. "No such call" makes the C library take `clone`.
fn without_clone3() -> Result<BpfProgram, Error> {
    let calls = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let unknown = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    program(calls, SeccompAction::Allow, unknown)
}

/// What the process `process` may call.
fn computation(process: u32) -> Result<BpfProgram, Error> {
    let mut calls: BTreeMap<_, _> = COMPUTATION.iter().map(|call| (*call, Vec::new())).collect();
    calls.insert(libc::SYS_clone3, Vec::new());
    // No memory with code: neither made nor loaded.
    let no_code = bits(2, libc::PROT_EXEC.cast_unsigned(), 0)?;
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        calls.insert(call, vec![all([no_code.clone()])?]);
    }
    // Files are opened for reading, and only those that are there.
    let changes =
        (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_TMPFILE).cast_unsigned();
    let reads = bits(2, changes, libc::O_RDONLY.cast_unsigned())?;
    calls.insert(libc::SYS_openat, vec![all([reads])?]);
    // Threads, but no processes.
    let thread = libc::CLONE_THREAD.cast_unsigned();
    let is_thread = bits(0, thread | NAMESPACE_FLAGS.cast_unsigned(), thread)?;
    calls.insert(libc::SYS_clone, vec![all([is_thread])?]);
    // Signals to itself only.
    for call in [libc::SYS_kill, libc::SYS_tgkill] {
        calls.insert(call, vec![all([is(0, process)?])?]);
    }
    // The names of threads and of memory.
    let names = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA];
    let names = names.map(|option| all([is(0, option.cast_unsigned())?]));
    calls.insert(
        libc::SYS_prctl,
        names.into_iter().collect::<Result<_, _>>()?,
    );
    // Its own limits are read and not set.
    calls.insert(libc::SYS_prlimit64, vec![all([is(0, 0)?, is_null(2)?])?]);
    let refused = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    program(calls, refused, SeccompAction::Allow)
}

fn program(
    calls: BTreeMap<i64, Vec<SeccompRule>>,
    others: SeccompAction,
    these: SeccompAction,
) -> Result<BpfProgram, Error> {
    let filter = SeccompFilter::new(calls, others, these, TargetArch::try_from(ARCH)?)?;
    Ok(filter.try_into()?)
}

/// A rule for calls that meet all `conditions`.
fn all<const N: usize>(conditions: [SeccompCondition; N]) -> Result<SeccompRule, Error> {
    Ok(SeccompRule::new(conditions.into())?)
}

/// The argument `index`, an `int`, is `value`.
fn is(index: u8, value: u32) -> Result<SeccompCondition, Error> {
    condition(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

/// The argument `index` points nowhere.
fn is_null(index: u8) -> Result<SeccompCondition, Error> {
    condition(index, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)
}

/// Of the argument `index`, the bits of `mask` are `value`.
fn bits(index: u8, mask: u32, value: u32) -> Result<SeccompCondition, Error> {
    let operator = SeccompCmpOp::MaskedEq(mask.into());
    condition(index, SeccompCmpArgLen::Qword, operator, value)
}

fn condition(
    index: u8,
    length: SeccompCmpArgLen,
    operator: SeccompCmpOp,
    value: u32,
) -> Result<SeccompCondition, Error> {
    Ok(SeccompCondition::new(
        index,
        length,
        operator,
        value.into(),
    )?)
}
