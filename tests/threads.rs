//! How many threads the examples compute with, and where these run.

use gaternet::cli::threads::{self, Cores, Pool};
use gaternet_kernels::test_support::skipped;

/// `cores` as a list that `taskset` takes.
fn machine(allowed: &[usize], usable: usize) -> Cores {
    Cores { allowed: allowed.to_vec(), usable }
}

fn choose(threads: Option<usize>, variable: Option<&str>, cores: &Cores) -> Pool {
    Pool::choose(threads, variable, cores.clone()).expect("a pool")
}

#[test]
fn a_pool_is_bound_only_where_it_covers_all_cores() {
    let two = machine(&[0, 1], 2);
    let pinned = machine(&[3], 1);
    let some = machine(&[2, 5, 6], 3);
    // A cgroup's quota: the time of one core, spread over four.
    let quota = machine(&[0, 1, 2, 3], 1);
    let unknown = machine(&[], 4);
    for (name, threads, variable, cores, want) in [
        ("all cores", None, None, &two, (2, Some(&[0, 1][..]))),
        ("--threads of all cores", Some(2), None, &two, (2, Some(&[0, 1]))),
        ("--threads of some", Some(1), None, &two, (1, None)),
        ("the variable with some", None, Some("1"), &two, (1, None)),
        ("the variable with all", None, Some("2"), &two, (2, Some(&[0, 1]))),
        ("0 in the variable is none", None, Some("0"), &two, (2, Some(&[0, 1]))),
        ("nothing in the variable", None, Some(""), &two, (2, Some(&[0, 1]))),
        ("--threads wins", Some(2), Some("1"), &two, (2, Some(&[0, 1]))),
        ("more than cores", Some(3), None, &two, (3, None)),
        ("taskset to one core", None, None, &pinned, (1, Some(&[3]))),
        ("taskset to some cores", None, None, &some, (3, Some(&[2, 5, 6]))),
        ("two of them", None, Some("2"), &some, (2, None)),
        ("a quota", None, None, &quota, (1, None)),
        ("as many as cores in spite of a quota", Some(4), None, &quota, (4, None)),
        ("a system that does not say", None, None, &unknown, (4, None)),
    ] {
        let pool = choose(threads, variable, cores);
        assert_eq!((pool.threads, pool.bound.as_deref()), want, "{name}");
    }
}

#[test]
fn more_threads_than_cores_are_warned_of_and_far_more_refused() {
    let two = machine(&[0, 1], 2);
    for (threads, variable) in [(None, None), (Some(2), None), (Some(1), None), (None, Some("2"))] {
        assert_eq!(choose(threads, variable, &two).warning, None, "{threads:?} {variable:?}");
    }
    let warning = |threads, variable| choose(threads, variable, &two).warning.unwrap_or_default();
    let text = warning(Some(256), None);
    assert!(text.contains("--threads 256") && text.contains("may use 2 cores"), "{text}");
    let text = warning(None, Some("3"));
    assert!(text.contains("RAYON_NUM_THREADS=3"), "{text}");
    let quota = choose(Some(4), None, &machine(&[0, 1, 2, 3], 1)).warning.unwrap_or_default();
    assert!(quota.contains("may use 1 core;"), "{quota}");

    let error = |threads, variable, cores: &Cores| {
        Pool::choose(threads, variable, cores.clone()).expect_err("no pool").to_string()
    };
    assert_eq!(error(Some(0), None, &two), "--threads 0: must be at least 1");
    let text = error(Some(257), None, &two);
    assert_eq!(text, "--threads 257: must be at most 256 here, where this process may use 2 cores");
    let text = error(None, Some("100000"), &two);
    assert!(text.starts_with("RAYON_NUM_THREADS=100000: must be at most 256"), "{text}");
    assert!(error(None, Some("two"), &two).contains("RAYON_NUM_THREADS=two: must be a whole"));
    // A machine of many cores uses all of them, and takes four threads for each.
    let big = machine(&(0..400).collect::<Vec<_>>(), 400);
    assert_eq!(choose(None, None, &big).threads, 400);
    assert_eq!(choose(Some(1600), None, &big).threads, 1600);
    assert!(error(Some(1601), None, &big).contains("at most 1600 here"));
}

#[cfg(target_os = "linux")]
#[test]
fn every_thread_of_a_pool_of_all_cores_has_its_own() {
    use rustix::thread::{CpuSet, sched_getaffinity};

    let cores = || -> Vec<usize> {
        let set = sched_getaffinity(None).expect("a set of cores");
        (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
    };
    let allowed = cores();
    threads::use_threads(Some(allowed.len())).expect("this is the first use of the pool");
    let bound = rayon::broadcast(|_| cores()).concat();
    let usable = std::thread::available_parallelism().expect("a number").get();
    match usable < allowed.len() {
        true => skipped("no-quota", "a quota is below the cores that this process may use"),
        false => assert_eq!(bound, allowed),
    }
    assert_eq!(cores(), allowed, "the calling thread was bound too");
}
