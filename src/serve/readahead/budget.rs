//! How much may be read ahead: what is free, of the machine and of the control groups, with a reserve.
//!
//! The page cache counts as memory of the group that fills it. Filling it further than the group's limit would push out
//! what was read first, which is what is needed first.

use std::fs;
use std::path::{Path, PathBuf};

/// What is left for the workers' own memory at least.
const LEAST_RESERVE: u64 = 256 << 20;

/// The part of free memory that is left for it: one of so many.
const RESERVE_PART: u64 = 8;

/// Where control groups of version 2 are, and of version 1 those of memory.
const UNIFIED: &str = "sys/fs/cgroup";
const MEMORY: &str = "sys/fs/cgroup/memory";

/// Names of what one version of control groups tells of a group.
struct Names {
    limits: &'static [&'static str],
    usage: &'static str,
    /// Lines of `memory.stat` with what the kernel can take back, bytes of files.
    reclaimable: [&'static str; 2],
}

static VERSION_1: Names = Names {
    limits: &["memory.limit_in_bytes"],
    usage: "memory.usage_in_bytes",
    reclaimable: ["total_inactive_file", "total_active_file"],
};

static VERSION_2: Names = Names {
    limits: &["memory.max", "memory.high"],
    usage: "memory.current",
    reclaimable: ["inactive_file", "active_file"],
};

/// Returns how many bytes may be read ahead; `root` is the root of the file system.
pub(super) fn for_reading(root: &Path) -> Option<u64> {
    let mut free = available(root)?;
    for (directory, names) in groups(root) {
        if let Some(group) = free_in(&directory, names) {
            free = free.min(group);
        }
    }
    Some(free.saturating_sub(LEAST_RESERVE.max(free / RESERVE_PART)))
}

/// What the kernel says programs can have without swapping.
fn available(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The process's groups and those around them. In a container the group's path may be the host's: then the mount itself,
/// the last of its ancestors, is the container's.
fn groups(root: &Path) -> Vec<(PathBuf, &'static Names)> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut groups = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (mount, names) = match controllers {
            "" => (UNIFIED, &VERSION_2),
            named if named.split(',').any(|name| name == "memory") => (MEMORY, &VERSION_1),
            _ => continue,
        };
        let mount = root.join(mount);
        let group = mount.join(path.trim_start_matches('/'));
        let around = group.ancestors().take_while(|directory| directory.starts_with(&mount));
        groups.extend(around.map(|directory| (directory.to_owned(), names)));
    }
    groups
}

/// What a group can still have; `None` where it has no limit.
fn free_in(directory: &Path, names: &Names) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(directory.join(name)).ok()?.trim().parse::<u64>().ok();
    let limit = names.limits.iter().filter_map(|name| number(name)).min()?;
    let stat = fs::read_to_string(directory.join("memory.stat")).unwrap_or_default();
    let reclaimable = stat.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        names.reclaimable.contains(&name).then(|| value.parse::<u64>().ok())?
    });
    let used = number(names.usage)?.saturating_sub(reclaimable.fold(0, u64::saturating_add));
    Some(limit.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let meminfo = format!("MemTotal: 1 kB\nMemAvailable:   {} kB\n", 16 * GIB / 1024);
        for (path, text) in [("proc/meminfo", meminfo.as_str())].iter().chain(files) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn budget(files: &[(&str, &str)]) -> Option<u64> {
        for_reading(root(files).path())
    }

    #[test]
    fn a_machine_without_groups_leaves_a_part() {
        assert_eq!(budget(&[]), Some(14 * GIB));
        assert_eq!(budget(&[("proc/meminfo", "MemAvailable: 131072 kB\n")]), Some(0));
        assert_eq!(budget(&[("proc/meminfo", "MemAvailable: much\n")]), None);
        assert_eq!(for_reading(Path::new("/nowhere")), None);
        assert!(for_reading(Path::new("/")).is_some());
    }

    #[test]
    fn the_least_limit_of_a_group_and_those_around_it_counts() {
        let group = |inner: &str, outer: &str, high: &str| {
            budget(&[
                ("proc/self/cgroup", "0::/outer/inner\n"),
                ("sys/fs/cgroup/outer/inner/memory.max", inner),
                ("sys/fs/cgroup/outer/inner/memory.current", "1073741824\n"),
                ("sys/fs/cgroup/outer/inner/memory.stat", "anon 5\ninactive_file 536870912\nactive_file 0\n"),
                ("sys/fs/cgroup/outer/memory.max", outer),
                ("sys/fs/cgroup/outer/memory.high", high),
                ("sys/fs/cgroup/outer/memory.current", "1073741824\n"),
            ])
        };
        // 4 GiB, of which half a GiB is in use and not reclaimable; an eighth is left.
        assert_eq!(group("4294967296\n", "max\n", "max\n"), Some(7 * GIB / 2 / 8 * 7));
        assert_eq!(group("4294967296\n", "2147483648\n", "max\n"), Some(GIB - LEAST_RESERVE));
        assert_eq!(group("max\n", "max\n", "2147483648\n"), Some(GIB - LEAST_RESERVE));
        assert_eq!(group("max\n", "max\n", "max\n"), Some(14 * GIB));
        assert_eq!(group("1\n", "max\n", "max\n"), Some(0));
    }

    #[test]
    fn groups_of_version_1_and_paths_of_the_host_are_known() {
        let files = [
            ("proc/self/cgroup", "5:cpu,cpuacct:/docker/f00\n4:memory:/docker/f00\n0::/\nrubbish\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "4294967296\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "2147483648\n"),
            ("sys/fs/cgroup/memory/memory.stat", "inactive_file 7\ntotal_inactive_file 1073741824\n"),
        ];
        assert_eq!(budget(&files), Some(3 * GIB / 8 * 7));
    }
}
